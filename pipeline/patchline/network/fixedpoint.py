"""Fixed-point functions of TensorFlow Lite's reference kernels (gemmlowp's `FixedPoint`), on int64 numpy arrays.

They serve two purposes: tables (sigmoid, tanh, hard-swish, exp) that make an imported TFLite model match its own
reference, and the run-time part of Softmax, which every network uses whatever its rounding rule.

A number in format Qm is an int32 with `m` integer bits: value = raw / 2^(31 - m).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from patchline.network.arithmetic import Int64Array, quantise_multiplier, tflite_multiply

INT32_MAX = 2**31 - 1
INT32_MIN = -(2**31)

SOFTMAX_SUM_BITS = 12
"""Integer bits of the sum of exponentials (TFLite's; as an unsigned number it has one more)."""

SOFTMAX_MAX_CHANNELS = (2**32 - 1) >> (31 - SOFTMAX_SUM_BITS)
"""8191. Where all channels are equal, each adds exp(0) = 2^31 / 2^12 = 2^19 to the sum, which has 32 bits."""

_EXP_STEPS = (  # (exponent of the bit, round(2^31 * exp(-2^exponent)))
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def saturate(x: Int64Array) -> Int64Array:
    return np.clip(x, INT32_MIN, INT32_MAX)


def high_multiply(a: Int64Array | int, b: Int64Array | int) -> Int64Array:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31 rounded, halves away from zero; only -2^31 * -2^31 saturates."""
    product = np.asarray(a, np.int64) * b
    total = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    quotient = np.where(total >= 0, total >> 31, -((-total) >> 31))
    return np.minimum(quotient, INT32_MAX)


def rounding_shift_right(x: Int64Array, bits: Int64Array | int) -> Int64Array:
    """RoundingDivideByPOT: x / 2^bits rounded to nearest, halves away from zero."""
    mask = (np.int64(1) << np.asarray(bits, np.int64)) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> bits) + ((x & mask) > threshold)


def saturating_shift_left(x: Int64Array, bits: int) -> Int64Array:
    return saturate(np.asarray(x, np.int64) << bits)


def rounding_half_sum(a: Int64Array, b: Int64Array) -> Int64Array:
    total = a + b
    magnitude = np.abs(total + np.where(total >= 0, 1, -1)) >> 1
    return np.where(total >= 0, magnitude, -magnitude)


def exp_of_negative(x: Int64Array, integer_bits: int) -> Int64Array:
    """exp(x) in Q0 for x <= 0 in Q`integer_bits` (gemmlowp's exp_on_negative_values)."""
    x = np.asarray(x, np.int64)
    fraction = 31 - integer_bits
    quarter = np.int64(1) << (fraction - 2)
    modulo = (x & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(modulo << integer_bits)
    remainder = modulo - x
    for exponent, factor in _EXP_STEPS:
        if integer_bits > exponent:
            bit = np.int64(1) << (fraction + exponent)
            result = np.where(remainder & bit, high_multiply(result, factor), result)
    if integer_bits > 5:
        result = np.where(x < -(np.int64(1) << (fraction + 5)), 0, result)
    return np.where(x == 0, INT32_MAX, result)


def _exp_between_minus_quarter_and_zero(a: Int64Array) -> Int64Array:
    """exp(a) in Q0 for a in [-1/4, 0) in Q0: Taylor series around -1/8."""
    constant, third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = high_multiply(x, x)
    x3 = high_multiply(x2, x)
    x4 = high_multiply(x2, x2)
    x4_over_4 = rounding_shift_right(x4, 2)
    series = rounding_shift_right(high_multiply(x4_over_4 + x3, third) + x2, 1)
    return saturate(constant + high_multiply(constant, x + series))


def one_over_one_plus(a: Int64Array) -> Int64Array:
    """1 / (1 + a) in Q0 for a in [0, 1] in Q0: three Newton-Raphson steps on the half denominator."""
    half = rounding_half_sum(np.asarray(a, np.int64), np.full_like(a, INT32_MAX, dtype=np.int64))
    x = 1515870810 + high_multiply(half, -1010580540)  # 48/17 - 32/17 * d in Q2
    for _ in range(3):
        error = (1 << 29) - high_multiply(half, x)  # 1 in Q2
        # Q2 * Q2 = Q4, brought back to Q2
        x = saturate(x + saturating_shift_left(high_multiply(x, error), 2))
    return saturating_shift_left(x, 1)  # Q2 holding 2 * the result, read as Q1, brought to Q0


def logistic(x: Int64Array, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(-x)) in Q0 for x in Q`integer_bits`."""
    x = np.asarray(x, np.int64)
    positive = one_over_one_plus(exp_of_negative(-np.abs(x), integer_bits))
    result = np.where(x > 0, positive, INT32_MAX - positive)
    return np.where(x == 0, 1 << 30, result)


def tanh(x: Int64Array, integer_bits: int) -> Int64Array:
    """tanh(x) in Q0 for x in Q`integer_bits`."""
    x = np.asarray(x, np.int64)
    # (1 - e) / (1 + e) with e = exp(-2 |x|); doubling x is one more integer bit
    magnitude = _one_minus_over_one_plus(exp_of_negative(-np.abs(x), integer_bits + 1))
    return np.where(x == 0, 0, np.where(x > 0, magnitude, -magnitude))


def _one_minus_over_one_plus(a: Int64Array) -> Int64Array:
    half = rounding_half_sum(a, np.full_like(a, INT32_MAX))
    x = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - high_multiply(half, x)
        x = saturate(x + saturating_shift_left(high_multiply(x, error), 2))
    return saturating_shift_left(x - (1 << 29), 2)


# --- softmax ----------------------------------------------------------------------------------------------------------


def softmax_exp_table(scale: float, beta: float = 1.0) -> NDArray[np.int32]:
    """exp(-beta * scale * d) in Q0 for the distances d = 0..255 below the maximum, as TFLite's reference does it."""
    integer_bits = 5
    real = min(beta * scale * 2.0 ** (31 - integer_bits), float(INT32_MAX))
    multiplier, shift = quantise_multiplier(real)
    if shift < 0:
        raise ValueError(f"softmax input scale {scale} is too small")
    radius = math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**shift)
    distance = np.arange(256, dtype=np.int64)
    scaled = tflite_multiply(-distance, multiplier, shift)
    return np.where(distance > radius, 0, exp_of_negative(scaled, integer_bits)).astype(np.int32)


def softmax(x: NDArray[np.int8], exp_table: NDArray[np.int32]) -> NDArray[np.int8]:
    """Softmax over the last axis; output scale 1/256, zero point -128. All in int32 except the high multiplies.

    e = exp_table[max - x]; sum = sum of round(e / 2^12) (halves away from zero); n = leading zeros of sum as uint32;
    r = one_over_one_plus((sum << n) - 2^31); q = clamp(round(high_multiply(r, e) / 2^(12 - n + 23)) - 128).
    """
    values = x.astype(np.int64)
    exp = exp_table.astype(np.int64)[values.max(axis=-1, keepdims=True) - values]
    total = rounding_shift_right(exp, SOFTMAX_SUM_BITS).sum(axis=-1, keepdims=True)
    leading = np.asarray(32 - np.frexp(total.astype(np.float64))[1], np.int64)  # total < 2^32 is exact in float64
    reciprocal = one_over_one_plus((total << leading) - (1 << 31))
    over_unit = SOFTMAX_SUM_BITS - leading
    scaled = rounding_shift_right(high_multiply(reciprocal, exp), over_unit + 31 - 8)
    return np.clip(scaled - 128, -128, 127).astype(np.int8)
