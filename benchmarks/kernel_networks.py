"""The networks whose inference is counted: architectures of published models with seeded random weights.

MLPerf Tiny's visual wake words model (MobileNetV1 0.25 at 96 x 96) and MCUNet's `mcunet-vww1` (80 x 80), operator by
operator as their TFLite files have them, padding included. What a kernel executes does not depend on the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from patchline.network import arithmetic
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Add, Conv, Depthwise, GlobalPool, Network, Op, Pool, Requant, Rule, Window

SEED = 7

VWW_96 = ((1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128), *[(1, 128)] * 5, (2, 256), (1, 256))
"""Stride of the 3x3 depthwise and channels of the pointwise behind it, after a stem of 8 channels."""

MCUNET_VWW1 = (
    (3, 1, 16, 8), (3, 2, 48, 16), (3, 1, 48, 16), (3, 1, 48, 16), (7, 2, 48, 24), (3, 1, 144, 24), (5, 1, 120, 24),
    (7, 2, 144, 40), (7, 1, 240, 40), (3, 1, 240, 48), (3, 1, 192, 48), (5, 2, 240, 96), (3, 1, 480, 96),
    (3, 1, 384, 96), (7, 1, 288, 160),
)  # fmt: skip
"""Depthwise kernel, its stride and channels, channels of the projection, after a stem of 16 channels."""


@dataclass(frozen=True)
class Benchmark:
    """A network to count; `macs` is what its TFLite file has."""

    name: str
    macs: int
    build: Callable[[], Network]


def vww_96() -> Network:
    b = NetworkBuilder(96, 96, 3, SEED, "vww_96")
    x = b.conv("input", 8, 3, 2)
    for stride, channels in VWW_96:
        x = b.conv(b.depthwise(x, 3, stride), channels)
    b.conv(b.global_pool(x), 2, relu=False)
    return _padded_as_tensorflow(b.finish())


def mcunet_vww1() -> Network:
    b = NetworkBuilder(80, 80, 3, SEED, "mcunet-vww1")
    x = b.conv("input", 16, 3, 2)
    for kernel, stride, mid, channels in MCUNET_VWW1:
        x = b.mbconv(x, channels, kernel, stride, 0, mid)
    b.conv(b.global_pool(x), 2, relu=False)
    return b.finish()


NETWORKS = (Benchmark("vww_96", 7_489_664, vww_96), Benchmark("mcunet-vww1", 11_578_816, mcunet_vww1))


def with_tflite_rule(network: Network) -> Network:
    """The same network with TensorFlow Lite's requantisation; fully connected layers and pools by its own rules."""
    return replace(network, ops=tuple(_tflite(network, op) for op in network.ops))


def requantised(op: Conv | Depthwise, rule: Rule) -> Conv | Depthwise:
    """`op`, which has rule `single`, with the same scales under another rule."""
    assert op.requant.rule == "single" and not op.requant.shifts.any()
    return replace(op, requant=arithmetic.tflite_requant(_real(op.requant), rule))


def tflite_add(network: Network, op: Add) -> Add:
    """`op` with TensorFlow Lite's constants."""
    scales = [network.tensors[name].scale for name in (*op.inputs, op.output)]
    multipliers, shifts = arithmetic.tflite_add_constants(*scales)
    return replace(op, multipliers=multipliers, shifts=shifts, offset=0, rule="tflite")


def _tflite(network: Network, op: Op) -> Op:
    if isinstance(op, Conv | Depthwise):
        dense = isinstance(op, Conv) and network.tensors[op.output].width == 1
        return requantised(op, "tflite_once" if dense else "tflite")
    if isinstance(op, Add):
        return tflite_add(network, op)
    if isinstance(op, GlobalPool | Pool):
        return replace(op, requant=None)
    return op


def _real(requant: Requant) -> np.ndarray:
    return np.asarray(requant.multipliers, np.float64) * 2.0**-32


def _padded_as_tensorflow(network: Network) -> Network:
    """TensorFlow's `SAME` puts the odd column of padding to the right, the odd row below."""

    def before(window: Window, size: int, out: int) -> int:
        return max((out - 1) * window.stride + window.kernel - size, 0) // 2

    ops = []
    for op in network.ops:
        if isinstance(op, Conv | Depthwise):
            source, out = network.tensors[op.inputs[0]], network.tensors[op.output]
            op = replace(op, pad=(before(op.rows, source.height, out.height), before(op.cols, source.width, out.width)))
        ops.append(op)
    return replace(network, ops=tuple(ops))
