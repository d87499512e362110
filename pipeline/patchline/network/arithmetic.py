"""The integer formulas, written down once: reference, importers, code generation and the C kernels follow them.

Rule `single` (Patchline): q = clamp(((int64(acc << shift) * M + 2^31) >> 32) + z, lo, hi). With M = round(2^32 * s) for
a real multiplier s < 0.5 (larger ones shift the accumulator left first) this is one SMMLAR instruction on ARMv7E-M.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.network.ir import Requant, Rule

Int64Array = NDArray[np.int64]

ADD_BITS = 21
"""Multipliers of an Add stay below 2^21, so that 255 * m[0] + 255 * m[1] + offset fits int32."""

TFLITE_ADD_SHIFT = 20
"""Left shift that TFLite gives both inputs of an Add before scaling them."""


def single_requant(real: NDArray[np.float64] | list[float] | float) -> Requant:
    """Integer form of real multipliers (scale_x * scale_w / scale_y), each in [2^-31, 2^15).

    Raises ValueError for a multiplier outside that range: such a scale can only come from broken quantisation.
    """
    values = np.atleast_1d(np.asarray(real, dtype=np.float64))
    if not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(values >= 2**15):
        raise ValueError(f"requantisation multiplier out of range: {values.min()}..{values.max()}")
    shifts = np.zeros(values.shape, dtype=np.int32)
    multipliers = np.zeros(values.shape, dtype=np.int32)
    for i, value in enumerate(values):
        shift = 0
        # round(2^32 * s) must fit a positive int32, so a multiplier of 0.5 and more moves bits into the accumulator
        while round(value * 2.0 ** (32 - shift)) > 2**31 - 1:
            shift += 1
        shifts[i] = shift
        multipliers[i] = round(value * 2.0 ** (32 - shift))
    return Requant(multipliers, shifts, "single")


def largest_sum(weights: Int64Array, bias: NDArray[Any], input_zero: int) -> NDArray[Any]:
    """No partial sum of a channel is larger in magnitude, whatever the input, with the zero point folded into the bias
    (bias - z_x * sum(w), then w * x for x in -128..127). `weights` are [channels, ...]; it must stay below 2^31."""
    rows = weights.reshape(len(weights), -1)
    return np.asarray(np.abs(bias - input_zero * rows.sum(axis=1)) + 128 * np.abs(rows).sum(axis=1))


def requantise(acc: Int64Array, requant: Requant, zero_point: int, clamp: tuple[int, int]) -> NDArray[np.int8]:
    """Rescale accumulators [..., channels] to int8 by the rule of `requant`."""
    if requant.rule == "tflite":
        scaled = tflite_multiply(acc, requant.multipliers.astype(np.int64), requant.shifts.astype(np.int64))
    elif requant.rule == "tflite_once":
        scaled = rounding_multiply(acc, requant.multipliers.astype(np.int64), requant.shifts.astype(np.int64))
    else:
        if requant.shifts.any():
            # the shift is done in int32 on the device: wrap the same way
            acc = (acc << requant.shifts.astype(np.int64)).astype(np.int32).astype(np.int64)
        scaled = acc * requant.multipliers.astype(np.int64)
        scaled += 1 << 31  # in place from here on: this is the hot spot of the reference
        scaled >>= 32
    scaled += zero_point
    return np.clip(scaled, *clamp, out=scaled).astype(np.int8)


def tflite_multiply(acc: Int64Array, multiplier: Int64Array | int, shift: Int64Array | int) -> Int64Array:
    """TFLite's MultiplyByQuantizedMultiplier: saturating rounding doubling high multiply, rounding shift right."""
    left = np.maximum(shift, 0)
    right = np.maximum(-np.asarray(shift), 0)
    x = np.clip(acc << left, -(2**31), 2**31 - 1)
    product = x * multiplier
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    high = np.where(total >= 0, total >> 31, -((-total) >> 31))  # C division truncates towards zero
    high = np.minimum(high, 2**31 - 1)
    mask = (1 << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + (remainder > threshold), dtype=np.int64)


def rounding_multiply(acc: Int64Array, multiplier: Int64Array | int, shift: Int64Array | int) -> Int64Array:
    """acc * multiplier * 2^(shift - 31) with one rounding, halves up; shift <= 30."""
    total = 31 - np.asarray(shift, dtype=np.int64)
    return np.asarray((acc * multiplier + (np.int64(1) << (total - 1))) >> total, dtype=np.int64)


def add_constants(
    scale_a: float, zero_a: int, scale_b: float, zero_b: int, scale_y: float, zero_y: int
) -> tuple[tuple[int, int], int, int]:
    """Multipliers, shift and offset of an Add under rule `single`: q = clamp((a*m0 + b*m1 + offset) >> shift).

    Raises ValueError where the ratio of the scales is beyond what int32 can hold.
    """
    ratio_a, ratio_b = scale_a / scale_y, scale_b / scale_y
    largest = max(ratio_a, ratio_b)
    if not np.isfinite(largest) or largest <= 0 or largest >= 2**15:
        raise ValueError(f"ratio of the scales of an Add is out of range: {ratio_a}, {ratio_b}")
    shift = 22  # 127 << 22 still leaves room in int32
    while largest * 2.0**shift >= 2.0**ADD_BITS and shift > 1:
        shift -= 1
    m0, m1 = round(ratio_a * 2.0**shift), round(ratio_b * 2.0**shift)
    offset = (zero_y << shift) + (1 << (shift - 1)) - zero_a * m0 - zero_b * m1
    return (m0, m1), shift, offset


def quantise_multiplier(real: float) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: real = m * 2^(shift - 31) with |m| in [2^30, 2^31); (0, 0) for zero and nearly so.

    A weight's scale may be negative, and so may m; it then reaches -2^31, as TFLite's does. Raises ValueError for a
    multiplier that is not finite or absurdly large.
    """
    if not math.isfinite(real):
        raise ValueError(f"requantisation multiplier out of range: {real}")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(abs(fraction) * 2.0**31 + 0.5) * (1 if real > 0 else -1)
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 31:
        raise ValueError(f"requantisation multiplier out of range: {real}")
    return multiplier, shift


def tflite_requant(real: NDArray[np.float64] | list[float] | float, rule: Rule = "tflite") -> Requant:
    """TFLite's integer form of real multipliers (scale_x * scale_w / scale_y, in float64); `rule` is one of TFLite's.

    Raises ValueError for a multiplier that is not finite or 2^30 and more in magnitude.
    """
    pairs = [quantise_multiplier(float(value)) for value in np.atleast_1d(np.asarray(real, dtype=np.float64))]
    if any(shift > 30 for _, shift in pairs):
        raise ValueError(f"requantisation multiplier out of range: {real}")
    return Requant(
        np.array([m for m, _ in pairs], dtype=np.int32), np.array([s for _, s in pairs], dtype=np.int32), rule
    )


def tflite_add_constants(
    scale_a: float, scale_b: float, scale_y: float
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Multipliers and shifts of (input 1, input 2, output) of a TFLite Add (left shift of `TFLITE_ADD_SHIFT`)."""
    twice_largest = 2 * max(scale_a, scale_b)
    pairs = [
        quantise_multiplier(real)
        for real in (
            scale_a / twice_largest,
            scale_b / twice_largest,
            twice_largest / ((1 << TFLITE_ADD_SHIFT) * scale_y),
        )
    ]
    multipliers, shifts = zip(*pairs, strict=True)
    return multipliers, shifts


def rounded_division(total: Int64Array, count: Int64Array | int) -> Int64Array:
    """total / count rounded to nearest, halves away from zero (TFLite's average pooling)."""
    half = np.asarray(count) // 2
    magnitude = (np.abs(total) + half) // count
    return np.where(total > 0, magnitude, -magnitude)
