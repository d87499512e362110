"""ONNX convolutions and fully connected layers, and what is computed as one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic
from patchline.network.importers.assembly import (
    Assembly,
    WindowPair,
    covering,
    dense_weights,
    emit_convolution,
)
from patchline.network.importers.onnx_values import (
    Const,
    Convert,
    Inputs,
    Node,
    Pending,
    QuantConst,
    Value,
    constant,
    real_view,
)
from patchline.network.importers.problems import QUANTISE, OrderError, UnsupportedError
from patchline.network.importers.views import View, image


def _weights(value: Value | None) -> QuantConst:
    if isinstance(value, QuantConst):
        return value
    if isinstance(value, Const):
        raise UnsupportedError("its weights are not quantised", QUANTISE)
    raise UnsupportedError("its weights are not constants", "only constant weights are supported")


def _scales(weights: QuantConst, axis: int, channels: int) -> NDArray[np.float64]:
    """One scale per output channel."""
    if weights.scale.size > 1 and weights.axis != axis:
        raise UnsupportedError("its weights are quantised along the wrong axis", "quantise weights per output channel")
    return np.broadcast_to(weights.scale, (channels,))


def _bias(value: Value | None, scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bias in accumulator steps, one per channel, not yet rounded."""
    if value is None:
        return np.zeros(scales.shape)
    if isinstance(value, QuantConst) and np.allclose(np.broadcast_to(value.scale, scales.shape), scales, rtol=1e-5):
        return np.broadcast_to(value.centred.reshape(-1).astype(np.float64), scales.shape)
    return np.broadcast_to(constant(value, "the bias").reshape(-1).astype(np.float64), scales.shape) / scales


def sum_of(
    assembly: Assembly, node: Node, source: str, weights: NDArray[np.int64], scales: NDArray[np.float64],
    bias: NDArray[np.float64], window: WindowPair, view: View,
) -> Pending:  # fmt: skip
    """A convolution that waits for its output scale; `scales` are those of the weights, `bias` in accumulator steps."""
    steps = assembly.scale_of(source) * scales
    channels_last = weights.ndim == 3

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        products, ints, real = _within_32_bits(weights, bias, steps, assembly.zero_of(source), scale)
        requant = arithmetic.single_requant(real / scale)
        return emit_convolution(
            assembly, node.name, source, products, ints, requant, window, scale, zero_point, clamp
        )  # fmt: skip

    def scaled(gain: NDArray[np.float64], shift: NDArray[np.float64]) -> Pending:
        sign, size = np.sign(gain).astype(np.int64), np.abs(gain)
        turned = weights * (sign if channels_last else sign.reshape(-1, 1, 1, 1))
        start = sign * bias + shift / (steps * size)
        return sum_of(assembly, node, source, turned, scales * size, start, window, view)

    return Pending(node.name, view, emit, scaled=scaled)


def _within_32_bits(
    weights: NDArray[np.int64], bias: NDArray[np.float64], steps: NDArray[np.float64], input_zero: int, scale: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Weights, rounded bias and the real value of one accumulator step, per channel.

    A channel whose weights are nearly 0 has a tiny scale, in which its bias is a huge number. It counts in coarser
    steps where that changes the output by less than half a step.
    """
    if not np.all(np.isfinite(bias)):
        raise UnsupportedError("its bias is not finite", "export the model again")
    by_channel = weights.transpose(2, 0, 1) if weights.ndim == 3 else weights
    ints = np.rint(np.clip(bias, -(2.0**60), 2.0**60))
    largest = arithmetic.largest_sum(by_channel, ints, input_zero)
    bits = np.where(largest < 2.0**31, 0, np.ceil(np.log2(np.maximum(largest, 1)) - 30))
    error = 0.5 * 255 * by_channel[0].size * steps * 2.0**bits / scale
    factor = 2.0 ** -np.where(error < 0.5, bits, 0)
    coarse = np.rint(weights * (factor if weights.ndim == 3 else factor.reshape(-1, 1, 1, 1))).astype(np.int64)
    return coarse, np.rint(ints * factor).astype(np.int64), steps / factor


def window_of(
    node: Node, size: tuple[int, int], kernel: tuple[int, int], swapped: bool, ceil: bool = False
) -> WindowPair:
    """The windows of a convolution or pooling; attributes are in the file's order of the two directions."""
    if any(d != 1 for d in node.ints("dilations", [1, 1])):
        raise UnsupportedError(f"dilation {node.ints('dilations', [])} is not supported", "use dilation 1")
    stride, pads = node.ints("strides", [1, 1]), node.ints("pads", [0, 0, 0, 0])
    if len(stride) != 2 or len(pads) != 4 or min(stride) < 1 or min(kernel) < 1:
        raise UnsupportedError(f"kernel {kernel}, strides {stride} and pads {pads} do not describe an image operator")
    if min(pads) < 0:
        raise UnsupportedError(f"negative padding {pads} is not supported")
    auto = node.attributes.get("auto_pad", b"NOTSET")
    mode = auto.decode(errors="replace") if isinstance(auto, bytes) else str(auto)
    sizes = (size[1], size[0]) if swapped else size
    before, out = [], []
    for n, k, s, p, q in zip(sizes, kernel, stride, pads[:2], pads[2:], strict=True):
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            count = -(-n // s)
            total = max((count - 1) * s + k - n, 0)
            p = total // 2 if mode == "SAME_UPPER" else total - total // 2
        else:
            p, q = (0, 0) if mode == "VALID" else (p, q)
            count = (n + p + q - k) // s + 1
            if ceil and (n + p + q - k) % s and count * s < n + p:
                count += 1
        if q >= k and mode not in ("SAME_UPPER", "SAME_LOWER"):
            raise UnsupportedError(f"its padding {pads} is not smaller than its kernel {kernel}")
        before.append(p)
        out.append(count)
    pairs = [(a, b) if not swapped else (b, a) for a, b in (kernel, stride, before, out)]
    return WindowPair(*pairs)


def conv(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    weights = _weights(inputs[1])
    values = weights.centred
    if values.ndim != 4:
        raise UnsupportedError(f"its weights have {values.ndim} dimensions", "only 2-D convolutions are supported")
    view, place = assembly.image(real_view(inputs[0]), "NCHW")
    channels, depth, kh, kw = values.shape
    groups = node.int("group", 1)
    window = window_of(node, view.hwc[:2], (kh, kw), place.swapped)
    if depth * groups != view.hwc[2]:
        raise UnsupportedError(f"its weights read {depth * groups} channels, its input has {view.hwc[2]}")
    if place.swapped:
        values = values.swapaxes(2, 3)
    if groups == 1:
        arranged = values.transpose(0, 2, 3, 1)
    elif groups == view.hwc[2] and channels == groups:
        arranged = values[:, 0].transpose(1, 2, 0)
    else:
        raise UnsupportedError(
            f"a convolution in {groups} groups from {view.hwc[2]} to {channels} channels is not supported",
            "use a dense convolution or a depthwise one with multiplier 1",
        )
    scales = _scales(weights, 0, channels)
    bias = _bias(inputs[2] if len(inputs) > 2 else None, assembly.scale_of(view.tensor) * scales)
    out = image((*window.out, channels), "NCHW", place.swapped)
    return sum_of(assembly, node, view.tensor, arranged, scales, bias, window, out)


def gemm(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    if node.float("alpha", 1) != 1 or node.float("beta", 1) != 1 or node.int("transA", 0):
        raise UnsupportedError("alpha, beta or transA are not supported", "fold them into the weights")
    weights = _weights(inputs[1])
    if not node.int("transB", 0):
        weights = transposed_constant(weights, [1, 0])
    return _dense(assembly, node, real_view(inputs[0]), weights, inputs[2] if len(inputs) > 2 else None)


def matmul(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    weights = _weights(inputs[1])
    if weights.values.ndim != 2:
        raise UnsupportedError(f"its weights have {weights.values.ndim} dimensions", "only matrices are supported")
    return _dense(assembly, node, real_view(inputs[0]), transposed_constant(weights, [1, 0]), None)


def _dense(assembly: Assembly, node: Node, view: View, weights: QuantConst, bias: Value | None) -> Pending:
    """A fully connected layer over the last dimension of `view`, with weights [out, in]."""
    matrix = weights.centred
    if matrix.ndim != 2 or matrix.shape[1] != view.shape[-1]:
        raise UnsupportedError(f"weights of shape {matrix.shape} do not fit an input of shape {list(view.shape)}")
    channels, last = len(matrix), len(view.dims) - 1
    scales = _scales(weights, 0, channels)
    steps = _bias(bias, assembly.scale_of(view.tensor) * scales)
    if covering(view, last):
        kernel, out, arranged = view.hwc[:2], (1, 1), dense_weights(view, last, matrix)
    elif view.dims[last] == view.whole("C"):
        kernel, out, arranged = (1, 1), view.hwc[:2], matrix.reshape(channels, 1, 1, -1)
    else:
        raise OrderError("it works on a part of rows, columns and channels", "flatten the whole image")
    target = View("", (*out, channels), ())
    dims = (*(() if covering(view, last) else dim for dim in view.dims[:-1]), target.whole("C"))
    window = WindowPair(kernel, (1, 1), (0, 0), out)
    return sum_of(assembly, node, view.tensor, arranged, scales, steps, window, replace(target, dims=dims))


def transposed_constant(value: QuantConst, order: list[int]) -> QuantConst:
    axis = order.index(value.axis) if value.scale.size > 1 else 0
    return replace(value, values=value.values.transpose(order), axis=axis)


def affine(assembly: Assembly, node: Node, view: View, gain: NDArray, shift: NDArray) -> Pending:
    """gain * x + shift per channel, as a 1x1 depthwise convolution with weights of +-127."""
    if not (np.all(np.isfinite(gain)) and np.all(np.isfinite(shift))):
        raise UnsupportedError("its constants are not finite")
    step = assembly.scale_of(view.tensor)
    scales = np.maximum(np.abs(gain) / 127, np.abs(shift) / (step * 2.0**29))
    scales = np.where(scales > 0, scales, 1 / 127)
    weights = np.rint(gain / scales).astype(np.int64).reshape(1, 1, -1)
    window = WindowPair((1, 1), (1, 1), (0, 0), view.hwc[:2])
    return sum_of(assembly, node, view.tensor, weights, scales, shift / (step * scales), window, view)


def batch_norm(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    scale, bias, mean, variance = (
        constant(value, "a parameter").reshape(-1).astype(np.float64) for value in inputs[1:5]
    )
    if isinstance(inputs[0], Pending):
        raise UnsupportedError("it is not folded into the convolution before it", "quantise after quant_pre_process")
    view, _ = assembly.image(real_view(inputs[0]), "NCHW")
    gain = scale / np.sqrt(variance + node.float("epsilon", 1e-5))
    return affine(assembly, node, view, gain, bias - mean * gain)


OPERATORS: dict[str, Convert] = {
    "Conv": conv, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_norm,
}  # fmt: skip
