"""Weights in the order the kernels read them (firmware_template/include/patchline/kernels.h), as flat int8 arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchline.network.ir import Int8Array, Int32Array

Order = Literal["split", "flat"]
"""Which inputs share a word (kernels.h). `split`: (0,2), (1,3) of every four, as SXTB16 takes a word apart, every
kernel row padded to a multiple of 4; `flat`: the same for the whole fours of every row, then the rest of all rows
in pairs."""


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def conv_order(kernel_h: int, span: int) -> Order:
    """The order for a window of `kernel_h` rows of `span` inputs: split where padding each row costs no products."""
    return "split" if kernel_h * round_up(span, 4) == round_up(kernel_h * span, 4) else "flat"


def conv_weights(weights: Int8Array, order: Order) -> Int8Array:
    """[out, kh, kw, in] as [channel pair][four inputs][pair of inputs][half][channel of the pair]."""
    out, kernel_h = weights.shape[:2]
    rows = weights.reshape(out, kernel_h, -1)
    fours = rows.shape[2] - rows.shape[2] % 4
    if order == "split":
        rows, fours = _pad_last(rows, 4), round_up(rows.shape[2], 4)
    whole, rest = rows[..., :fours].reshape(out, -1), rows[..., fours:].reshape(out, -1)
    return np.ascontiguousarray(
        np.concatenate([_channel_pairs(whole, (0, 2, 4, 3, 1)), _channel_pairs(rest, (0, 2, 3, 4, 1))], axis=1)
    ).reshape(-1)


def _channel_pairs(weights: Int8Array, axes: tuple[int, ...]) -> Int8Array:
    """[out, inputs] as [channel pair, bytes]; `axes` orders [pair, channel, four, half of it, which of two]."""
    padded = np.pad(_pad_last(weights, 4), ((0, len(weights) % 2), (0, 0)))
    quads = padded.reshape(len(padded) // 2, 2, -1, 2, 2)
    return quads.transpose(axes).reshape(len(quads), -1)


def depthwise_weights(weights: Int8Array, stride: int) -> Int8Array:
    """[kh, kw, channels] channel by channel: [pairs of rows][pairs of columns] of four bytes, zeros beyond the kernel.

    `stride` (of columns) and sizes of 3, 5 and 7 give orders of their own (kernels.h)."""
    kernel_h, kernel_w, channels = weights.shape
    by_channel = weights.transpose(2, 0, 1)
    if (kernel_h, kernel_w) == (3, 3):
        nine = by_channel.reshape(-1, 9)[:, [0, 1, 3, 4, 2, 6, 5, 7, 8]]
        return np.pad(nine, ((0, 0), (0, 3))).reshape(-1)
    even = np.pad(by_channel, ((0, 0), (0, kernel_h % 2), (0, kernel_w % 2)))
    if kernel_h == kernel_w and kernel_w in (5, 7):
        if stride == 2:
            even[:, :, :kernel_w] = even[:, :, [*range(0, kernel_w, 2), *range(1, kernel_w, 2)]]
        sums = even.astype(np.int16).reshape(channels, -1, 2 * kernel_w + 2).sum(axis=2, dtype=np.int16)
        even[:, 0::2, kernel_w] = sums.astype(np.int8)  # wraps: the low byte, signed
        even[:, 1::2, kernel_w] = (sums - sums.astype(np.int8)) >> 8
    quads = even.reshape(channels, even.shape[1] // 2, 2, even.shape[2] // 2, 2)
    return np.ascontiguousarray(quads.transpose(0, 1, 3, 2, 4)).reshape(-1)


def fold_zero_point(bias: Int32Array, weights: NDArray[np.int64], input_zero: int) -> NDArray[np.int64]:
    """The bias with which sum(w * x) needs no zero point: bias - z_x * sum(w). `weights` is [channels, products]."""
    return bias.astype(np.int64) - input_zero * weights.sum(axis=1)


def may_overflow(bias: NDArray[np.int64], weights: NDArray[np.int64]) -> bool:
    """Whether some int8 input could take a partial sum out of int32. `weights` is [channels, products]."""
    return bool(np.any(np.abs(bias) + 128 * np.abs(weights).sum(axis=1) > 2**31 - 1))


def _pad_last(array: Int8Array, multiple: int) -> Int8Array:
    missing = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
