"""TFLite operators that compute. Scales are combined in the precision (float32 or float64) that TFLite uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic, fixedpoint
from patchline.network.importers import tflite_tables, views
from patchline.network.importers.assembly import (
    Assembly,
    WindowPair,
    check_range,
    covering,
    dense_weights,
    emit_convolution,
)
from patchline.network.importers.problems import UnsupportedError
from patchline.network.importers.tflite_file import FileOp, FileTensor
from patchline.network.importers.views import View, image
from patchline.network.ir import Add, Concat, GlobalPool, Int8Array, Lookup, Mul, Pad, Pool, Requant, Softmax, Upsample

LAYOUT = "NHWC"
INTEGER = "convert the whole model with full integer quantisation"


@dataclass(frozen=True)
class Value:
    """A tensor of the file: how it lies in the network's tensor, and the type it has in the file."""

    view: View
    type: str


class State:
    """The network so far, the values of the file's tensors by index, and the tensors that refused operators make."""

    def __init__(self, name: str) -> None:
        self.assembly = Assembly(name)
        self.values: dict[int, Value] = {}
        self.refused: set[int] = set()

    def any_view(self, op: FileOp, at: int) -> View:
        """The view of input `at`, whatever its type."""
        tensor = _input(op, at)
        value = self.values.get(tensor.index)
        if value is None:
            if tensor.data is not None:
                raise UnsupportedError(f"its input '{tensor.name}' is a constant of type {tensor.type}", INTEGER)
            raise UnsupportedError(f"it reads '{tensor.name}' before anything produces it", "convert the model again")
        return value.view

    def view(self, op: FileOp, at: int) -> View:
        """The view of input `at`, which must be int8."""
        view, tensor = self.any_view(op, at), _input(op, at)
        if tensor.type != "INT8" or not view.tensor:
            raise UnsupportedError(f"its input '{tensor.name}' is {tensor.type}, not int8", INTEGER)
        return view

    def is_constant(self, op: FileOp, at: int) -> bool:
        tensor = _input(op, at)
        return tensor.index not in self.values and tensor.data is not None


Convert = Callable[[State, FileOp], Value]


def _input(op: FileOp, at: int) -> FileTensor:
    tensor = op.inputs[at] if at < len(op.inputs) else None
    if tensor is None:
        raise UnsupportedError(f"input {at} is missing")
    return tensor


def _output(op: FileOp) -> FileTensor:
    """The output, which must be int8."""
    if op.outputs[0].type != "INT8":
        raise UnsupportedError(f"its output is {op.outputs[0].type}, not int8", INTEGER)
    return op.outputs[0]


def clamp_of(op: FileOp, scale: float, zero: int) -> tuple[int, int]:
    """Limits of the output under the fused activation."""
    kind = op.option("FusedActivationFunction")
    bounds = {0: (None, None), 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}.get(kind)
    if bounds is None:
        raise UnsupportedError(f"fused activation {kind} is not supported", "use none, Relu or Relu6")
    low, high = (
        None if b is None else zero + int(tflite_tables.rounded(np.float32(b) / np.float32(scale))) for b in bounds
    )
    return max(-128, -128 if low is None else min(low, 127)), min(127, 127 if high is None else max(high, -128))


# --- convolutions ----------------------------------------------------------------------------------------------------


def window_of(op: FileOp, size: tuple[int, int], kernel: tuple[int, int], swapped: bool) -> WindowPair:
    """The windows of a convolution or pooling from the file's options (in the file's order of the two directions)."""
    if op.option("DilationHFactor", 1) != 1 or op.option("DilationWFactor", 1) != 1:
        raise UnsupportedError("dilation is not supported", "use dilation 1")
    stride = (int(op.option("StrideH")), int(op.option("StrideW")))
    same = {0: True, 1: False}.get(op.option("Padding"))
    if same is None or min(stride) < 1 or min(kernel) < 1:
        raise UnsupportedError(f"stride {stride}, kernel {kernel} or padding {op.option('Padding')} is not valid")
    before, out = [], []
    for n, k, s in zip((size[1], size[0]) if swapped else size, kernel, stride, strict=True):
        count = -(-n // s) if same else (n - k) // s + 1
        before.append(max((count - 1) * s + k - n, 0) // 2 if same else 0)
        out.append(count)
    pairs = [(b, a) if swapped else (a, b) for a, b in (kernel, stride, before, out)]
    return WindowPair(*pairs)


def _filter(op: FileOp, axis: int, channels: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weights and one scale per output channel."""
    tensor = _input(op, 1)
    if tensor.type != "INT8":
        raise UnsupportedError(f"its weights are {tensor.type}", "quantise weights to int8")
    values = tensor.array.astype(np.int64)
    if not tensor.scales.size or not np.all(np.isfinite(tensor.scales) & (tensor.scales > 0)):
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
    weights = _input(op, 1).array
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
    out = _output(op)
    requant = arithmetic.tflite_requant(state.assembly.scale_of(view.tensor) * scales / out.scale)
    name = emit_convolution(
        state.assembly, op.name, view.tensor, values, _bias(op, channels), requant, window, out.scale, out.zero,
        clamp_of(op, out.scale, out.zero),
    )  # fmt: skip
    return Value(image((*window.out, channels), LAYOUT, place.swapped).named(name), "INT8")


def fully_connected(state: State, op: FileOp) -> Value:
    weights = _input(op, 1).array
    if weights.ndim != 2 or op.option("WeightsFormat"):
        raise UnsupportedError("its weights are not a plain matrix")
    channels, depth = weights.shape
    values, scales = _filter(op, 0, channels)
    view, out = state.view(op, 0), _output(op)
    flat = views.reshape(view, [-1, depth])
    assembly = state.assembly
    step = assembly.scale_of(view.tensor)
    # per tensor TFLite multiplies the two scales in float32, per channel in float64
    products = (
        np.float64(np.float32(step) * scales.astype(np.float32)) if _input(op, 1).scales.size == 1 else step * scales
    )
    requant = arithmetic.tflite_requant(products / out.scale, "tflite_once")
    if covering(flat, 1):
        kernel, size, arranged = view.hwc[:2], (1, 1), dense_weights(flat, 1, values)
    elif flat.dims[1] == view.whole("C"):
        kernel, size, arranged = (1, 1), view.hwc[:2], values.reshape(channels, 1, 1, -1)
    else:
        raise UnsupportedError("it works on a part of rows, columns and channels", "flatten the whole image")
    window = WindowPair(kernel, (1, 1), (0, 0), size)
    name = emit_convolution(
        assembly, op.name, view.tensor, arranged, _bias(op, channels), requant, window, out.scale, out.zero,
        clamp_of(op, out.scale, out.zero),
    )  # fmt: skip
    target = View(name, (*size, channels), ())
    result = replace(target, dims=(() if size == (1, 1) else flat.dims[0], target.whole("C")))
    return Value(views.reshape(result, list(out.shape)), "INT8")


# --- arithmetic of two tensors ---------------------------------------------------------------------------------------


def add(state: State, op: FileOp) -> Value:
    out = _output(op)
    clamp = clamp_of(op, out.scale, out.zero)
    for constant, at in ((0, 1), (1, 0)):
        if state.is_constant(op, constant):
            return _table_with_scalar(state, op, at, constant, clamp)
    if op.op == "SUB":
        raise UnsupportedError(
            "the difference of two tensors is not supported", "subtract a constant, or rewrite it as ADD"
        )
    a, b = state.view(op, 0), state.view(op, 1)
    if a.hwc != b.hwc or a.dims != b.dims:
        raise UnsupportedError(
            f"it adds tensors of shapes {list(a.shape)} and {list(b.shape)}", "both need the same shape and layout"
        )
    scales = state.assembly.scale_of(a.tensor), state.assembly.scale_of(b.tensor)
    multipliers, shifts = arithmetic.tflite_add_constants(*scales, out.scale)
    name = state.assembly.emit(
        Add, op.name, (a.tensor, b.tensor), a.hwc, out.scale, out.zero, multipliers=multipliers, shifts=shifts,
        rule="tflite", clamp=clamp,
    )  # fmt: skip
    return Value(a.named(name), "INT8")


def _table_with_scalar(state: State, op: FileOp, at: int, constant: int, clamp: tuple[int, int]) -> Value:
    """ADD, SUB or MUL with one number: a table, computed with the very rule of the operator."""
    view, other, out = state.view(op, at), _input(op, constant), _output(op)
    number = other.array
    if number.size != 1:
        raise UnsupportedError(
            f"a constant of shape {list(number.shape)} is not supported here", "fold it into the convolution before it"
        )
    x = np.arange(-128, 128) - state.assembly.zero_of(view.tensor)
    y = np.full(256, int(number.reshape(())) - other.zero)
    scale = state.assembly.scale_of(view.tensor)
    if op.op == "MUL":
        requant = arithmetic.tflite_requant(_mul_scale(scale, other.scale, out.scale))
        table = arithmetic.requantise(x * y, requant, out.zero, clamp)
    else:
        left, right = ((x, scale), (y, other.scale)) if at == 0 else ((y, other.scale), (x, scale))
        multipliers, shifts = arithmetic.tflite_add_constants(left[1], right[1], out.scale)
        parts = [
            arithmetic.tflite_multiply(v << arithmetic.TFLITE_ADD_SHIFT, m, s)
            for v, m, s in zip((left[0], right[0]), multipliers, shifts, strict=False)
        ]
        total = parts[0] - parts[1] if op.op == "SUB" else parts[0] + parts[1]
        scaled = arithmetic.tflite_multiply(total, multipliers[2], shifts[2])
        table = np.clip(scaled + out.zero, *clamp).astype(np.int8)
    return _looked_up(state, op, view, table)


def _mul_scale(a: float, b: float, out: float) -> float:
    return float(np.float32(a) * np.float32(b) / np.float32(out))


def mul(state: State, op: FileOp) -> Value:
    out = _output(op)
    clamp = clamp_of(op, out.scale, out.zero)
    for constant, at in ((0, 1), (1, 0)):
        if state.is_constant(op, constant):
            if _input(op, constant).array.size == 1:
                return _table_with_scalar(state, op, at, constant, clamp)
            return _scaled_per_channel(state, op, at, constant, clamp)
    a, b = state.view(op, 0), state.view(op, 1)
    if a.hwc[:2] == (1, 1) and b.hwc[:2] != (1, 1):
        a, b = b, a
    gate = b.hwc == (1, 1, a.hwc[2]) and b.dims == tuple(d if d == a.whole("C") else () for d in a.dims)
    if not gate and (a.hwc != b.hwc or a.dims != b.dims):
        raise UnsupportedError(
            f"it multiplies tensors of shapes {list(a.shape)} and {list(b.shape)}",
            "the second needs the same shape or one value per channel",
        )
    scales = [state.assembly.scale_of(_view.tensor) for _view in (state.view(op, 0), state.view(op, 1))]
    requant = arithmetic.tflite_requant(_mul_scale(scales[0], scales[1], out.scale))
    check_range(255 * 255, requant)
    name = state.assembly.emit(
        Mul, op.name, (a.tensor, b.tensor), a.hwc, out.scale, out.zero, requant=requant, clamp=clamp
    )  # fmt: skip
    return Value(a.named(name), "INT8")


def _scaled_per_channel(state: State, op: FileOp, at: int, constant: int, clamp: tuple[int, int]) -> Value:
    """MUL by one constant per channel: exactly a 1x1 depthwise convolution."""
    view, other, out = state.view(op, at), _input(op, constant), _output(op)
    factors = other.array.astype(np.int64) - other.zero
    view, place = state.assembly.image(view, LAYOUT)
    padded = (1,) * (4 - factors.ndim) + factors.shape
    if padded[place.channel] != view.hwc[2] or factors.size != view.hwc[2]:
        raise UnsupportedError(f"a constant of shape {list(factors.shape)} does not vary by channel only")
    requant = arithmetic.tflite_requant(
        [_mul_scale(state.assembly.scale_of(view.tensor), other.scale, out.scale)] * view.hwc[2]
    )
    window = WindowPair((1, 1), (1, 1), (0, 0), view.hwc[:2])
    name = emit_convolution(
        state.assembly, op.name, view.tensor, factors.reshape(1, 1, -1), np.zeros(view.hwc[2], np.int64), requant,
        window, out.scale, out.zero, clamp,
    )  # fmt: skip
    return Value(view.named(name), "INT8")


def concatenation(state: State, op: FileOp) -> Value:
    out = _output(op)
    if clamp_of(op, out.scale, out.zero) != (-128, 127):
        raise UnsupportedError("a fused activation is not supported here")
    parts = [state.view(op, at) for at in range(len(op.inputs))]
    first = parts[0]
    axis = int(op.option("Axis")) % len(first.dims)
    for view in parts:
        rest = [dim for i, dim in enumerate(view.dims) if i != axis]
        same = view.hwc[:2] == first.hwc[:2] and rest == [dim for i, dim in enumerate(first.dims) if i != axis]
        if not same or view.dims[axis] != view.whole("C"):
            raise UnsupportedError(
                "it does not join channels of maps of the same size",
                "join along the channel axis only; give detection heads as separate outputs",
            )
        tensor = state.assembly.tensors[view.tensor]
        if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
            raise UnsupportedError("its inputs have other scales than its output", INTEGER)
    hwc = (*first.hwc[:2], sum(view.hwc[2] for view in parts))
    name = state.assembly.emit(
        Concat, op.name, tuple(view.tensor for view in parts), hwc, out.scale, out.zero, tables=(None,) * len(parts)
    )  # fmt: skip
    target = View(name, hwc, ())
    dims = tuple(target.whole("C") if i == axis else dim for i, dim in enumerate(first.dims))
    return Value(replace(target, dims=dims), "INT8")


# --- functions of one tensor -----------------------------------------------------------------------------------------


def _looked_up(state: State, op: FileOp, view: View, table: Int8Array) -> Value:
    out = op.outputs[0]
    tensor = state.assembly.tensors[view.tensor]
    same = (tensor.scale, tensor.zero_point) == (out.scale, out.zero)
    if same and np.array_equal(table, np.arange(-128, 128)):
        return Value(view, out.type)
    name = state.assembly.emit(Lookup, op.name, (view.tensor,), view.hwc, out.scale, out.zero, table=table)
    return Value(view.named(name), out.type)


def function(state: State, op: FileOp) -> Value:
    view, out = state.view(op, 0), _output(op)
    tensor = state.assembly.tensors[view.tensor]
    table = tflite_tables.TABLES[op.op](op, tensor.scale, tensor.zero_point, out.scale, out.zero)
    return _looked_up(state, op, view, table)


def quantize(state: State, op: FileOp) -> Value:
    """The model's float input becomes int8 here; elsewhere it changes the scale."""
    view, source, out = state.any_view(op, 0), _input(op, 0), op.outputs[0]
    assembly = state.assembly
    if not view.tensor:
        if not assembly.input:
            assembly.add_input(source.name, view.hwc, out.scale, out.zero)
        if (assembly.scale_of(assembly.input), assembly.zero_of(assembly.input)) != (out.scale, out.zero):
            raise UnsupportedError("the model's input is quantised twice, differently", "quantise the input once")
        return Value(view.named(assembly.input), out.type)
    tensor = assembly.tensors[view.tensor]
    rescale = tflite_tables.from_real if source.type == "FLOAT32" else tflite_tables.requantized
    return _looked_up(
        state, op, view, rescale(op, tensor.scale, tensor.zero_point, out.scale, out.zero)
    )  # fmt: skip


def dequantize(state: State, op: FileOp) -> Value:
    view = state.any_view(op, 0)
    if not view.tensor:
        raise UnsupportedError("it dequantises what is not quantised", INTEGER)
    return Value(view, op.outputs[0].type)


def softmax(state: State, op: FileOp) -> Value:
    view, out = state.view(op, 0), _output(op)
    if not view.dims or not view.dims[-1] or view.dims[-1] != view.whole("C"):
        raise UnsupportedError("it does not run over the channels", "apply softmax along the channel axis only")
    if (out.scale, out.zero) != (1 / 256, -128):
        raise UnsupportedError(f"its output scale is {out.scale}, not 1/256", INTEGER)
    table = fixedpoint.softmax_exp_table(state.assembly.scale_of(view.tensor), float(op.option("Beta", 1.0)))
    name = state.assembly.emit(Softmax, op.name, (view.tensor,), view.hwc, out.scale, out.zero, exp_table=table)
    return Value(view.named(name), "INT8")


# --- pooling ---------------------------------------------------------------------------------------------------------


def pool(state: State, op: FileOp) -> Value:
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    out = _output(op)
    tensor = state.assembly.tensors[view.tensor]
    if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
        raise UnsupportedError("its output has another scale than its input", INTEGER)
    kernel = (int(op.option("FilterHeight")), int(op.option("FilterWidth")))
    window = window_of(op, view.hwc[:2], kernel, place.swapped)
    clamp = clamp_of(op, out.scale, out.zero)
    hwc = (*window.out, view.hwc[2])
    average = op.op == "AVERAGE_POOL_2D"
    if average and window.whole and window.kernel == view.hwc[:2]:
        name = state.assembly.emit(
            GlobalPool, op.name, (tensor.name,), hwc, out.scale, out.zero, requant=None, clamp=clamp
        )  # fmt: skip
    else:
        name = state.assembly.emit(
            Pool, op.name, (tensor.name,), hwc, out.scale, out.zero, kind="average" if average else "max",
            kernel=window.kernel, stride=window.stride, pad=window.pad, clamp=clamp,
        )  # fmt: skip
    return Value(image(hwc, LAYOUT, place.swapped).named(name), "INT8")


def mean(state: State, op: FileOp) -> Value:
    view, out = state.view(op, 0), _output(op)
    axes = {int(axis) % len(view.dims) for axis in _input(op, 1).array.reshape(-1)}
    letters = {axis.letter for i in axes for axis in view.dims[i]}
    if "C" in letters or not all(view.dims[i] == view.whole(letter) for i in axes for letter in view.letters(i)):
        raise UnsupportedError("it averages over channels or parts of an axis", "average over height and width only")
    height, width, channels = view.hwc
    kernel = (height if "H" in letters else 1, width if "W" in letters else 1)
    hwc = (1 if "H" in letters else height, 1 if "W" in letters else width, channels)
    cells = kernel[0] * kernel[1]
    requant = _mean_requant(state.assembly.scale_of(view.tensor) / out.scale, cells)
    check_range(255.0 * cells, requant)
    if hwc[:2] == (1, 1):
        name = state.assembly.emit(GlobalPool, op.name, (view.tensor,), hwc, out.scale, out.zero, requant=requant)
    else:
        every = Requant(np.repeat(requant.multipliers, cells), np.repeat(requant.shifts, cells), "tflite")
        name = state.assembly.emit(
            Pool, op.name, (view.tensor,), hwc, out.scale, out.zero, kind="average", kernel=kernel, requant=every
        )  # fmt: skip
    keep = bool(op.option("KeepDims"))
    dims = tuple(() if i in axes else dim for i, dim in enumerate(view.dims) if keep or i not in axes)
    return Value(View(name, hwc, dims), "INT8")


def _mean_requant(ratio: float, cells: int) -> Requant:
    """TFLite divides the multiplier itself by the number of cells, after gaining as many bits as fit."""
    multiplier, shift = arithmetic.quantise_multiplier(ratio)
    gained = min(cells.bit_length() - 1, 32, 31 + shift)
    if gained < 0:
        raise UnsupportedError("its output scale is far too large", INTEGER)
    return Requant(
        np.array([(multiplier << gained) // cells], np.int32), np.array([shift - gained], np.int32), "tflite"
    )  # fmt: skip


# --- shapes ----------------------------------------------------------------------------------------------------------


def reshape(state: State, op: FileOp) -> Value:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the output's shape in the file says it all."""
    return Value(views.reshape(state.any_view(op, 0), list(op.outputs[0].shape)), _input(op, 0).type)


def transpose(state: State, op: FileOp) -> Value:
    order = [int(i) for i in _input(op, 1).array.reshape(-1)]
    return Value(views.transpose(state.any_view(op, 0), order), _input(op, 0).type)


def pad(state: State, op: FileOp) -> Value:
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    pads, out = _input(op, 1).array.astype(np.int64), _output(op)
    if pads.shape != (4, 2) or pads.min() < 0 or pads.max() > 4096 or pads[0].any() or pads[place.channel].any():
        raise UnsupportedError(f"padding {pads.tolist()} is not one of height and width", "pad only height and width")
    tensor = state.assembly.tensors[view.tensor]
    if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
        raise UnsupportedError("its output has another scale than its input", INTEGER)
    value = int(_input(op, 2).array.reshape(())) if op.op == "PADV2" else out.zero
    if not pads.any():
        return Value(view, "INT8")
    top, left = place.pair((int(pads[place.first, 0]), int(pads[place.second, 0])))
    bottom, right = place.pair((int(pads[place.first, 1]), int(pads[place.second, 1])))
    hwc = (view.hwc[0] + top + bottom, view.hwc[1] + left + right, view.hwc[2])
    name = state.assembly.emit(
        Pad, op.name, (tensor.name,), hwc, out.scale, out.zero, pad=(top, left), value=value
    )  # fmt: skip
    return Value(image(hwc, LAYOUT, place.swapped).named(name), "INT8")


def resize(state: State, op: FileOp) -> Value:
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    out = _output(op)
    tensor = state.assembly.tensors[view.tensor]
    if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
        raise UnsupportedError("its output has another scale than its input", INTEGER)
    size = _input(op, 1).array.reshape(2)
    wanted = place.pair((int(size[0]), int(size[1])))
    factor = wanted[0] // view.hwc[0]
    if factor < 1 or wanted != (view.hwc[0] * factor, view.hwc[1] * factor) or op.option("AlignCorners"):
        raise UnsupportedError(
            f"enlarging {view.hwc[:2]} to {wanted} is not supported",
            "enlarge both directions by one whole number, without align_corners",
        )
    hwc = (*wanted, view.hwc[2])
    name = state.assembly.emit(Upsample, op.name, (tensor.name,), hwc, out.scale, out.zero, factor=factor)
    return Value(image(hwc, LAYOUT, place.swapped).named(name), "INT8")


OPERATORS: dict[str, Convert] = {
    "CONV_2D": conv, "DEPTHWISE_CONV_2D": conv, "FULLY_CONNECTED": fully_connected,
    "ADD": add, "SUB": add, "MUL": mul, "CONCATENATION": concatenation,
    "AVERAGE_POOL_2D": pool, "MAX_POOL_2D": pool, "MEAN": mean, "SOFTMAX": softmax,
    **dict.fromkeys(tflite_tables.TABLES, function),
    "QUANTIZE": quantize, "DEQUANTIZE": dequantize,
    "RESHAPE": reshape, "SQUEEZE": reshape, "EXPAND_DIMS": reshape, "TRANSPOSE": transpose,
    "PAD": pad, "PADV2": pad, "RESIZE_NEAREST_NEIGHBOR": resize,
}  # fmt: skip


def hint(op: str) -> str:
    if op.startswith("CUSTOM") or op in ("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "TOPK_V2", "ARG_MAX"):
        return "end the model before it and do this step in the application"
    return "replace it in the model by supported operators (docs/bring-your-own-model.md lists them)"
