"""Channels that give one value whatever the input, in plainer constants.

Networks trained with ReLU die in parts: quantised by TFLite, such a channel has weights of 0 and a bias and a shift of
nearly 32 bits. Both would force all channels of its operator onto the slow way to requantise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from patchline.codegen.layout import fold_zero_point
from patchline.network.arithmetic import requantise
from patchline.network.ir import Conv, Depthwise, Requant, Tensor

Summing = TypeVar("Summing", Conv, Depthwise)


def simplify(op: Summing, source: Tensor, output: Tensor) -> Summing:
    """`op` with the same outputs for every input.

    Where a channel under TFLite's rule cannot but give one value, its weights become 0, and bias, multiplier and shift
    small ones that give this value.
    """
    if op.requant.rule != "tflite":
        return op
    axis = 0 if isinstance(op, Conv) else -1
    weights = np.moveaxis(op.weights, axis, 0).astype(np.int64)
    per_channel = weights.reshape(len(weights), -1)
    bias = fold_zero_point(op.bias, per_channel, source.zero_point)
    reach = 128 * np.abs(per_channel).sum(axis=1)
    low, high = (requantise(acc, op.requant, output.zero_point, op.clamp) for acc in (bias - reach, bias + reach))
    constant = low == high  # requantising never falls where its argument rises
    if not constant.any():
        return op
    steps = low.astype(np.int64) - output.zero_point
    # 4 * steps, times 2^30 / 2^31, shifted right by 1: steps, with nothing to round
    multipliers = np.where(constant, 1 << 30, op.requant.multipliers).astype(np.int32)
    shifts = np.where(constant, -1, op.requant.shifts).astype(np.int32)
    weights[constant] = 0
    return replace(
        op,
        weights=np.ascontiguousarray(np.moveaxis(weights, 0, axis).astype(np.int8)),
        bias=np.where(constant, 4 * steps, op.bias).astype(np.int32),
        requant=Requant(multipliers, shifts, op.requant.rule),
    )
