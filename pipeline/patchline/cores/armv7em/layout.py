"""Weights in the order the kernels read them (firmware_template/include/patchline/kernels.h), as flat int8 arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np

from patchline.network.ir import Int8Array

Order = Literal["none", "split", "flat", "nine", "quads", "sums", "sums_even"]
"""Which weights share a word (kernels.h). Convolutions: `split`: inputs (0,2), (1,3) of every four, as SXTB16 takes a
word apart, every kernel row padded to a multiple of 4; `flat`: the same for the whole fours of every row, then the rest
of all rows in pairs. Depthwise: `nine`: 3x3; `quads`: squares of two by two; `sums`: these and, in the column that is
left over, the sum of every pair of rows; `sums_even`: the same with the even columns first."""


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


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


def depthwise_weights(weights: Int8Array, order: Order) -> Int8Array:
    """[kh, kw, channels] channel by channel: [pairs of rows][pairs of columns] of four bytes, zeros beyond the kernel;
    `nine` and `sums` differ (kernels.h)."""
    kernel_h, kernel_w, channels = weights.shape
    by_channel = weights.transpose(2, 0, 1)
    if order == "nine":
        nine = by_channel.reshape(-1, 9)[:, [0, 1, 3, 4, 2, 6, 5, 7, 8]]
        return np.pad(nine, ((0, 0), (0, 3))).reshape(-1)
    even = np.pad(by_channel, ((0, 0), (0, kernel_h % 2), (0, kernel_w % 2)))
    if order in ("sums", "sums_even"):
        if order == "sums_even":
            even[:, :, :kernel_w] = even[:, :, [*range(0, kernel_w, 2), *range(1, kernel_w, 2)]]
        sums = even.astype(np.int16).reshape(channels, -1, 2 * kernel_w + 2).sum(axis=2, dtype=np.int16)
        even[:, 0::2, kernel_w] = sums.astype(np.int8)  # wraps: the low byte, signed
        even[:, 1::2, kernel_w] = (sums - sums.astype(np.int8)) >> 8
    quads = even.reshape(channels, even.shape[1] // 2, 2, even.shape[2] // 2, 2)
    return np.ascontiguousarray(quads.transpose(0, 1, 3, 2, 4)).reshape(-1)


def _pad_last(array: Int8Array, multiple: int) -> Int8Array:
    missing = -array.shape[-1] % multiple
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
