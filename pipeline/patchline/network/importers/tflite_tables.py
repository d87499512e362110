"""TFLite's reference kernels of elementwise functions, evaluated for all 256 inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from patchline.network import fixedpoint
from patchline.network.arithmetic import Int64Array, quantise_multiplier, tflite_multiply, tflite_requant
from patchline.network.importers.problems import UnsupportedError
from patchline.network.importers.tflite_file import FileOp
from patchline.network.ir import Int8Array

Table = Callable[[FileOp, float, int, float, int], Int8Array]
"""(operator, input scale, input zero point, output scale, output zero point) -> table"""

Q = np.arange(-128, 128, dtype=np.int64)


def rounded(x: NDArray | np.floating) -> NDArray[np.float64]:
    """Halves away from zero, as C's round()."""
    values = np.asarray(x, np.float64)
    return np.copysign(np.floor(np.abs(values) + 0.5), values)


def _int8(values: NDArray, low: int = -128, high: int = 127) -> Int8Array:
    return np.clip(values, max(low, -128), min(high, 127)).astype(np.int8)


def _scaled(x: Int64Array, ratio: float) -> Int64Array:
    requant = tflite_requant(ratio)
    return tflite_multiply(x, int(requant.multipliers[0]), int(requant.shifts[0]))


def requantized(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    return _int8(_scaled(Q - zero, scale / out_scale) + out_zero)


def from_real(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    """DEQUANTIZE followed by QUANTIZE."""
    real = np.float32(scale) * (Q - zero).astype(np.float32)
    return _int8(rounded(real / np.float32(out_scale)) + out_zero)


def relu(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    low, high = {"RELU": (0.0, math.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}[op.op]
    ratio = float(np.float32(scale) / np.float32(out_scale))
    limits = [
        127 if math.isinf(v) else out_zero + int(rounded(np.float32(v) / np.float32(out_scale))) for v in (low, high)
    ]
    return _int8(_scaled(Q - zero, ratio) + out_zero, *limits)


def leaky_relu(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    alpha = float(op.option("Alpha", 0.0))
    if not 0 <= alpha <= 1:
        raise UnsupportedError(f"slope {alpha} is not supported", "use a slope between 0 and 1")
    identity = float(np.float32(scale) / np.float32(out_scale))
    slope = float(np.float32(scale) * np.float32(alpha) / np.float32(out_scale))
    x = Q - zero
    return _int8(np.where(x >= 0, _scaled(x, identity), _scaled(x, slope)) + out_zero)


def logistic(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    if (out_scale, out_zero) != (1 / 256, -128):
        raise UnsupportedError(f"its output scale is {out_scale}, not 1/256")
    return _saturating(scale, zero, fixedpoint.logistic, 23, -128)


def tanh(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    if (out_scale, out_zero) != (1 / 128, 0):
        raise UnsupportedError(f"its output scale is {out_scale}, not 1/128")
    return _saturating(scale, zero, fixedpoint.tanh, 24, 0)


def _saturating(
    scale: float, zero: int, function: Callable[[Int64Array, int], Int64Array], shift: int, out_zero: int
) -> Int8Array:
    """A function in fixed point with 4 integer bits; beyond +-15 it is at its limits."""
    bits = 4
    multiplier, left = quantise_multiplier(scale * 2.0 ** (31 - bits))
    radius = math.floor(((1 << bits) - 1) * 2.0 ** (31 - bits) / 2.0**left)
    x = Q - zero
    inside = np.clip(x, -radius, radius)
    y = fixedpoint.rounding_shift_right(function(tflite_multiply(inside, multiplier, left), bits), shift) + out_zero
    return _int8(np.where(x <= -radius, -128, np.where(x >= radius, 127, y)))


def hard_swish(op: FileOp, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    """x * relu6(x + 3) / 6 on int16, as reference_ops::HardSwish."""
    hires = np.float32(1 / 128) * np.float32(scale)
    output, output_exponent = _multiplier16(float(hires / np.float32(out_scale)))
    reluish, exponent = _multiplier16(float(hires / (np.float32(3.0) / np.float32(32768.0))))
    if output_exponent > 0:
        raise UnsupportedError("its output scale is too small for its input")
    x = (Q - zero) * 128
    preshift = _high16(x, output)
    gate = x
    if exponent > 0:
        gate = _int16(gate << (exponent - 1))
    gate = _high16(gate, reluish)
    if exponent > 0:
        gate = _int16(gate << 1)
    elif exponent < 0:
        gate = fixedpoint.rounding_shift_right(gate, -exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * preshift
    truncated = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return _int8(fixedpoint.rounding_shift_right(truncated, -output_exponent) + out_zero)


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, exponent = quantise_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, 32767), exponent


def _int16(x: Int64Array) -> Int64Array:
    return np.clip(x, -32768, 32767)


def _high16(a: Int64Array, b: int) -> Int64Array:
    """SaturatingRoundingDoublingHighMul on int16."""
    product = a * b
    total = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.where(total >= 0, total >> 15, -((-total) >> 15))


TABLES: dict[str, Table] = {
    "RELU": relu, "RELU6": relu, "RELU_N1_TO_1": relu, "LEAKY_RELU": leaky_relu, "LOGISTIC": logistic, "TANH": tanh,
    "HARD_SWISH": hard_swish,
}  # fmt: skip
