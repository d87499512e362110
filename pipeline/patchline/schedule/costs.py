"""What a schedule costs beside its buffers: the runtime's own RAM and an estimate of flash."""

from __future__ import annotations

from collections.abc import Sequence

from patchline.network.ir import Conv, Depthwise, Network
from patchline.schedule.plan import Flash, Segment
from patchline.targets import Target

CODE_BYTES = 12 * 1024  # executor, kernels, protocol and start-up, linked with -O2


def static_bytes(network: Network, target: Target) -> int:
    """.data + .bss of the firmware beside the arena: the template's constant per target and the executor's row
    counters.

    Two bytes per tensor; the linker script reserves exactly this and fails where it is too little.
    """
    return -(-(target.firmware.static_bytes + 2 * (len(network.ops) + 1)) // 8) * 8


def flash_estimate(network: Network, segments: Sequence[Segment], target: Target) -> Flash:
    """Flash before linking: weights as stored, tables of the executor, code. An estimate; size.json has the truth."""
    weights = tables = 0
    for op in network.ops:
        if isinstance(op, Conv | Depthwise):
            weights += op.weights.size
            tables += 12 * op.bias.size  # bias, multiplier, shift
    for segment in segments:
        tables += 8 * len(segment.ranges) * (segment.tile_rows + segment.tile_cols)
    return Flash(weights, tables + 64 * len(network.ops), CODE_BYTES)
