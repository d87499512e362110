"""What a schedule costs beside its buffers: the runtime's own RAM and an estimate of flash."""

from __future__ import annotations

from collections.abc import Sequence

from patchline.cores.armv7em.kernels import choose, code_bytes
from patchline.network.ir import Network
from patchline.schedule.plan import Flash, Segment
from patchline.targets import Target

CODE_BYTES = 12 * 1024  # what an inference runs through: executor and kernels

_RUNTIME_CODE = 9200  # start-up, protocol, executor, requantisation, C library
_TABLES_PER_OP, _RANGE = 96, 4


def static_bytes(network: Network, target: Target) -> int:
    """.data + .bss of the firmware beside the arena: the template's constant per target and the executor's row
    counters.

    Two bytes per tensor; the linker script reserves exactly this and fails where it is too little.
    """
    return -(-(target.firmware.static_bytes + 2 * (len(network.ops) + 1)) // 8) * 8


def flash_estimate(network: Network, segments: Sequence[Segment], target: Target) -> Flash:
    """Flash before linking: weights and constants as the kernels hold them, tables of the executor, code.

    An estimate, good to some percent; size.json has the truth.
    """
    kernels = [choose(network, op) for op in network.ops]
    tables = _TABLES_PER_OP * len(kernels)
    for segment in segments:
        tables += _RANGE * len(segment.ranges) * (segment.tile_rows + segment.tile_cols)
    return Flash(sum(kernel.flash_bytes for kernel in kernels), tables, _RUNTIME_CODE + code_bytes(kernels))
