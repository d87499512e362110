"""What the firmware takes of flash, known (code: estimated) before anything is linked (bytes)."""

from __future__ import annotations

from patchline.codegen import tables
from patchline.codegen.layout import round_up
from patchline.codegen.operators import lower
from patchline.network.ir import Network
from patchline.schedule.plan import Plan

_STRUCTS = {
    "pl_conv": 32, "pl_depthwise": 28, "pl_add": 20, "pl_add_tflite": 24, "pl_mul": 24, "pl_pool": 24,
    "pl_global_pool": 36, "pl_lookup": 8, "pl_concat": 8, "pl_upsample": 4, "pl_pad": 4, "pl_softmax": 8,
    "pl_concat_input": 8,
}  # fmt: skip
"""sizeof on the device; tests/codegen compares them with the compiler's."""

_TENSOR, _OP, _SEGMENT, _RANGE, _PHASE, _OUTPUT, _PLAN = 24, 32, 24, 4, 4, 8, 24

_RUNTIME_CODE = 6400
_CONV_CODE = 8300  # all convolutions share their parts
_KERNEL_CODE = {
    "pl_depthwise_3s1": 2100, "pl_depthwise_3s2": 2100, "pl_depthwise_row": 200, "pl_add_row": 420,
    "pl_add_tflite_row": 1020, "pl_mul_row": 200, "pl_average_pool_row": 800, "pl_max_pool_row": 440,
    "pl_global_pool_row": 440, "pl_lookup_row": 60, "pl_concat_row": 160, "pl_upsample_row": 100, "pl_pad_row": 140,
    "pl_softmax_row": 480,
}  # fmt: skip
_LARGE_DEPTHWISE_CODE, _LARGE_DEPTHWISE_SHARED = 400, 1650  # 5x5 and 7x7: each size and stride, what they share
"""Bytes of code of the runtime and of each kernel, read off linked firmware; see `code_bytes`."""


def weights_bytes(network: Network) -> int:
    """Weights, biases, multipliers and look-up tables in kernel layout, as linked (arrays start at multiples of 4)."""
    return sum(round_up(array.bytes, 4) for op in network.ops for array in lower(network, op).arrays)


def tables_bytes(network: Network, plan: Plan) -> int:
    """The executor's tables and the constants of the operators other than weights."""
    found = tables.build(network, plan)
    constants = 0
    for op in network.ops:
        lowered = lower(network, op)
        constants += _STRUCTS[lowered.struct]
        constants += sum(_STRUCTS[v[0]["struct"]] * len(v) for v in lowered.fields.values() if isinstance(v, list))
    return (
        constants + _TENSOR * len(found.tensors) + _OP * len(found.ops) + round_up(2 * len(found.inputs), 4)
        + _SEGMENT * len(found.segments) + _RANGE * len(found.ranges) + _PHASE * len(found.steps)
        + _OUTPUT * len(found.outputs) + _PLAN
    )  # fmt: skip


def code_bytes(network: Network) -> int:
    """Machine code of the runtime and of the kernels that the network uses, estimated."""
    kernels = {lower(network, op).kernel for op in network.ops}
    conv = _CONV_CODE if any(name.startswith("pl_conv") for name in kernels) else 0
    large = (
        _LARGE_DEPTHWISE_SHARED if any(name.startswith(("pl_depthwise_5", "pl_depthwise_7")) for name in kernels) else 0
    )
    others = (_KERNEL_CODE.get(name, _LARGE_DEPTHWISE_CODE) for name in kernels if not name.startswith("pl_conv"))
    return _RUNTIME_CODE + conv + large + sum(others)
