"""From TFLite's scales to the integer constants of a convolution or fully connected layer, with TFLite's own bits.

Both kernels of TFLite add products and bias up in int32. A convolution then multiplies by a quantised multiplier (rule
`tflite`); a fully connected layer computes round(sum * scale) in float64 (rule `tflite_once`, with multipliers that
give the same).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchline.network.arithmetic import (
    Int64Array,
    largest_sum,
    quantise_multiplier,
    requantise,
    rounding_multiply,
    tflite_requant,
)
from patchline.network.ir import Requant

Reals = NDArray[np.float64]

LEAST, MOST = -(2**31), 2**31 - 1


def convolution(
    weights: Int64Array, bias: Int64Array, scales: Reals, input_zero: int, zero: int, clamp: tuple[int, int]
) -> tuple[Int64Array, Int64Array, Requant]:
    """Weights, bias and constants for products `weights` [channels, ...] and real multipliers `scales`, one each
    (scale_x * scale_w / scale_y in float64; they may be 0 or negative)."""
    return _plain(weights, bias, tflite_requant(scales), input_zero, zero, clamp)


def fully_connected(
    weights: Int64Array, bias: Int64Array, scales: Reals, input_zero: int, zero: int, clamp: tuple[int, int]
) -> tuple[Int64Array, Int64Array, Requant]:
    """As `convolution`, for a fully connected layer."""
    reach = largest_sum(weights, bias, input_zero)
    return _plain(weights, bias, _once(scales, reach, zero), input_zero, zero, clamp)


def _once(scales: Reals, reach: Int64Array, zero: int) -> Requant:
    """Constants of rule `tflite_once` that give round(sum * scale), halves away from zero, for every sum up to `reach`.

    The nearest multiplier of 31 bits may be wrong where a product comes within 2^-24 of a half (an exact half that is
    negative included): then a neighbour is taken. In layers of thousands of inputs it can happen that none is right
    everywhere; one that is wrong for the fewest sums, one or two of many millions, remains.
    """
    pairs = np.array([quantise_multiplier(float(scale)) for scale in scales], np.int64).reshape(-1, 2)
    nearest, shifts = pairs[:, :1], pairs[:, 1:]
    sums = _near_halves(scales, reach, zero)
    real = sums * scales[:, None]
    whole = np.trunc(real)
    wanted = whole + np.copysign(np.abs(real - whole) >= 0.5, real)
    counted = np.abs(sums) <= reach[:, None]
    best, fewest = nearest, np.full(nearest.shape, sums.size)
    for step in (0, 1, -1):
        candidate = np.where(nearest == 0, 0, np.clip(nearest + step, LEAST, MOST))
        wrong = (rounding_multiply(sums, candidate, shifts) != wanted) & counted
        count = wrong.sum(axis=1, keepdims=True)
        best, fewest = np.where(count < fewest, candidate, best), np.minimum(count, fewest)
    tflite_requant(scales)  # refuses what is out of range
    return Requant(best[:, 0].astype(np.int32), shifts[:, 0].astype(np.int32), "tflite_once")


def _near_halves(scales: Reals, reach: Int64Array, zero: int) -> Int64Array:
    """[channels, sums]: the sums on both sides of every step from one int8 output to the next."""
    halves = np.arange(-128 - zero, 128 - zero) + 0.5
    with np.errstate(divide="ignore", over="ignore"):
        at = halves / scales[:, None]
    # two beyond the reach: not counted, but no longer too large for an integer
    inside = np.clip(at, -reach[:, None] - 2.0, reach[:, None] + 2.0)
    return (np.floor(inside).astype(np.int64)[..., None] + np.arange(-1, 3)).reshape(len(scales), -1)


def _plain(
    weights: Int64Array, bias: Int64Array, requant: Requant, input_zero: int, zero: int, clamp: tuple[int, int]
) -> tuple[Int64Array, Int64Array, Requant]:
    """The same outputs for every input, with constants that the short ways to requantise can take.

    Networks trained with ReLU die in parts: quantised by TFLite, such a channel has weights of 0 and a bias and a shift
    of nearly 32 bits (or a multiplier of 0). Where a channel cannot but give one value, its weights become 0, and bias,
    multiplier and shift small ones that give this value. A negative scale goes into the weights where they have room
    for it.
    """
    rows = weights.reshape(len(weights), -1)
    folded = bias - input_zero * rows.sum(axis=1)
    reach = 128 * np.abs(rows).sum(axis=1)
    low, high = folded - reach, folded + reach
    wraps = (low < LEAST) | (high > MOST)  # then TFLite's sum may come out anywhere
    ends = [np.where(wraps, LEAST, low), np.where(wraps, MOST, high)]
    first, last = (requantise(end, requant, zero, clamp).astype(np.int64) for end in ends)
    constant = first == last  # requantising is monotonous
    multipliers = requant.multipliers.astype(np.int64)
    turned = (multipliers < 0) & (multipliers > LEAST) & (rows.min(axis=1) > -128) & (bias > LEAST)
    sign = np.where(turned, -1, 1)
    # 4 * steps, times 2^30 / 2^31, shifted right by 1: steps, with nothing to round
    bias = np.where(constant, 4 * (first - zero), sign * bias)
    weights = weights * np.where(constant, 0, sign).reshape(-1, *(1,) * (weights.ndim - 1))
    simple = Requant(
        np.where(constant, 1 << 30, sign * multipliers).astype(np.int32),
        np.where(constant, -1, requant.shifts).astype(np.int32),
        requant.rule,
    )
    return weights, bias, simple
