"""Filters that change the size of a picture, in whole numbers: training, reference and firmware compute the same bits.

An output pixel is the average of the area that it covers where a picture shrinks, and linear between its two neighbours
where it grows. Size and new size are as `stride` to `up` in lowest terms; the weights repeat every `up` outputs.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

ONE = 256
"""Sum of the weights of an output, in each direction; 255 * 256 * 256 < 2^24, so that float32 holds every sum."""


def ratio(size: int, new: int) -> tuple[int, int]:
    """`size` : `new` in lowest terms, (stride, up)."""
    common = gcd(size, new)
    return size // common, new // common


@lru_cache(maxsize=256)
def taps(stride: int, up: int) -> tuple[int, NDArray[np.int64]]:
    """(pad, weights [up, kernel]): output i reads inputs i * stride // up - pad and those that follow with the weights
    of row i % up. What lies outside of the picture counts as its nearest pixel."""
    if up <= stride:  # input j covers [j * up, (j + 1) * up), output i [i * stride, (i + 1) * stride)
        pad, kernel, total = 0, max(-(-(i + 1) * stride // up) - i * stride // up for i in range(up)), stride
        weights = np.zeros((up, kernel), np.int64)
        for i, k in np.ndindex(up, kernel):
            j = i * stride // up + k
            weights[i, k] = max(0, min((i + 1) * stride, (j + 1) * up) - max(i * stride, j * up))
    else:  # the centre of output i, counted from the centre of input 0 in steps of 1 / total
        pad, total = 1, 2 * up
        weights = np.zeros((up, 3), np.int64)
        for i in range(up):
            left, apart = divmod((2 * i + 1) * stride - up, total)
            k = left - (i * stride // up - pad)
            weights[i, k : k + 2] = total - apart, apart
    running = (2 * ONE * weights.cumsum(axis=1) + total) // (2 * total)
    whole = np.diff(running, axis=1, prepend=0)  # rounding the running sum keeps every weight >= 0 and their total
    whole.setflags(write=False)
    return pad, whole


@lru_cache(maxsize=64)
def matrix(size: int, new: int) -> NDArray[np.float32]:
    """The weights of all outputs over all inputs, [new, size], whole numbers."""
    stride, up = ratio(size, new)
    pad, weights = taps(stride, up)
    full = np.zeros((new, size), np.float32)
    for i in range(new):
        for k, weight in enumerate(weights[i % up]):
            full[i, min(max(i * stride // up - pad + k, 0), size - 1)] += weight
    full.setflags(write=False)
    return full
