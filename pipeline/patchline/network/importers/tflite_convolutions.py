"""TFLite convolutions and fully connected layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from patchline.network.importers import tflite_sums, views
from patchline.network.importers.assembly import (
    WindowPair,
    covering,
    dense_weights,
    emit_convolution,
)
from patchline.network.importers.problems import OrderError, UnsupportedError
from patchline.network.importers.tflite_file import FileOp
from patchline.network.importers.tflite_state import (
    INTEGER,
    LAYOUT,
    Convert,
    State,
    Value,
    clamp_of,
    input_of,
    output_of,
    window_of,
)
from patchline.network.importers.views import View, image


def _filter(op: FileOp, axis: int, channels: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weights and one scale per output channel (which may be 0 or negative: TFLite takes both)."""
    tensor = input_of(op, 1)
    if tensor.type != "INT8":
        raise UnsupportedError(f"its weights are {tensor.type}", "quantise weights to int8")
    values = tensor.array.astype(np.int64)
    if not tensor.scales.size or not np.all(np.isfinite(tensor.scales)):
        raise UnsupportedError("its weights have no valid scale", INTEGER)
    if np.any(tensor.zeros):
        raise UnsupportedError("its weights have a zero point other than 0", "quantise weights symmetrically")
    if tensor.scales.size not in (1, channels) or (tensor.scales.size > 1 and tensor.axis != axis):
        raise UnsupportedError("its weights are quantised along the wrong axis", "quantise per output channel")
    return values, np.broadcast_to(tensor.scales, (channels,))


def _bias(op: FileOp, channels: int) -> NDArray[np.int64]:
    tensor = op.inputs[2] if len(op.inputs) > 2 else None
    if tensor is None:
        return np.zeros(channels, np.int64)
    if tensor.type != "INT32":
        raise UnsupportedError(f"its bias is {tensor.type}", "quantise biases to int32")
    bias = tensor.array.astype(np.int64).reshape(-1)
    if len(bias) != channels:
        raise UnsupportedError(f"it has {len(bias)} biases for {channels} channels")
    return bias


def conv(state: State, op: FileOp) -> Value:
    weights = input_of(op, 1).array
    if weights.ndim != 4:
        raise UnsupportedError(f"its weights have {weights.ndim} dimensions")
    depthwise = op.op == "DEPTHWISE_CONV_2D"
    channels = weights.shape[3] if depthwise else weights.shape[0]
    values, scales = _filter(op, 3 if depthwise else 0, channels)
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    if place.swapped:
        values = values.swapaxes(1, 2)
    depth = view.hwc[2]
    if depthwise and depth == 1:
        values = values[0].transpose(2, 0, 1)[..., None]
    elif depthwise:
        if channels != depth or weights.shape[0] != 1:
            raise UnsupportedError(
                f"a depthwise convolution from {depth} to {channels} channels is not supported",
                "use a depth multiplier of 1",
            )
        values = values[0]
    elif weights.shape[3] != depth:
        raise UnsupportedError(f"its weights read {weights.shape[3]} channels of {depth}", "use one group")
    window = window_of(op, view.hwc[:2], (weights.shape[1], weights.shape[2]), place.swapped)
    out = output_of(op)
    clamp = clamp_of(op, out.scale, out.zero)
    single = values.ndim == 3  # one channel of the input for each of the output
    products, bias, requant = tflite_sums.convolution(
        values.transpose(2, 0, 1) if single else values, _bias(op, channels),
        state.assembly.scale_of(view.tensor) * scales / out.scale, state.assembly.zero_of(view.tensor), out.zero, clamp,
    )  # fmt: skip
    name = emit_convolution(
        state.assembly, op.name, view.tensor, products.transpose(1, 2, 0) if single else products, bias, requant,
        window, out.scale, out.zero, clamp,
    )  # fmt: skip
    return Value(image((*window.out, channels), LAYOUT, place.swapped).named(name), "INT8")


def fully_connected(state: State, op: FileOp) -> Value:
    weights = input_of(op, 1).array
    if weights.ndim != 2 or op.option("WeightsFormat"):
        raise UnsupportedError("its weights are not a plain matrix")
    channels, depth = weights.shape
    values, scales = _filter(op, 0, channels)
    view, out = state.view(op, 0), output_of(op)
    flat = views.reshape(view, [-1, depth])
    assembly = state.assembly
    if input_of(op, 1).scales.size == 1 and scales[0] < 0:
        raise UnsupportedError("its weights have a negative scale, which TFLite itself refuses here", INTEGER)
    clamp = clamp_of(op, out.scale, out.zero)
    values, bias, requant = tflite_sums.fully_connected(
        values, _bias(op, channels), assembly.scale_of(view.tensor) * scales / out.scale,
        assembly.zero_of(view.tensor), out.zero, clamp,
    )  # fmt: skip
    if covering(flat, 1):
        kernel, size, arranged = view.hwc[:2], (1, 1), dense_weights(flat, 1, values)
    elif flat.dims[1] == view.whole("C"):
        kernel, size, arranged = (1, 1), view.hwc[:2], values.reshape(channels, 1, 1, -1)
    else:
        raise OrderError("it works on a part of rows, columns and channels", "flatten the whole image")
    window = WindowPair(kernel, (1, 1), (0, 0), size)
    name = emit_convolution(
        assembly, op.name, view.tensor, arranged, bias, requant, window, out.scale, out.zero, clamp
    )  # fmt: skip
    target = View(name, (*size, channels), ())
    result = replace(target, dims=(() if size == (1, 1) else flat.dims[0], target.whole("C")))
    return Value(views.reshape(result, list(out.shape)), "INT8")


OPERATORS: dict[str, Convert] = {
    "CONV_2D": conv, "DEPTHWISE_CONV_2D": conv, "FULLY_CONNECTED": fully_connected,
}  # fmt: skip
