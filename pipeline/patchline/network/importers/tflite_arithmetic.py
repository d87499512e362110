"""TFLite arithmetic. Scales are combined in the precision (float32 or float64) that TFLite uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from patchline.network import arithmetic
from patchline.network.importers import tflite_tables
from patchline.network.importers.assembly import (
    SOFTMAX_OUTPUT,
    WindowPair,
    check_range,
    emit_convolution,
    emit_softmax,
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
)
from patchline.network.importers.views import View, unequal
from patchline.network.ir import Add, Concat, Int8Array, Lookup, Mul


def add(state: State, op: FileOp) -> Value:
    out = output_of(op)
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
        raise unequal(a, b, "adds", "both need the same shape and layout")
    scales = state.assembly.scale_of(a.tensor), state.assembly.scale_of(b.tensor)
    multipliers, shifts = arithmetic.tflite_add_constants(*scales, out.scale)
    name = state.assembly.emit(
        Add, op.name, (a.tensor, b.tensor), a.hwc, out.scale, out.zero, multipliers=multipliers, shifts=shifts,
        rule="tflite", clamp=clamp,
    )  # fmt: skip
    return Value(a.named(name), "INT8")


def _table_with_scalar(state: State, op: FileOp, at: int, constant: int, clamp: tuple[int, int]) -> Value:
    """ADD, SUB or MUL with one number: a table, computed with the very rule of the operator."""
    view, other, out = state.view(op, at), input_of(op, constant), output_of(op)
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
    out = output_of(op)
    clamp = clamp_of(op, out.scale, out.zero)
    for constant, at in ((0, 1), (1, 0)):
        if state.is_constant(op, constant):
            if input_of(op, constant).array.size == 1:
                return _table_with_scalar(state, op, at, constant, clamp)
            return _scaled_per_channel(state, op, at, constant, clamp)
    a, b = state.view(op, 0), state.view(op, 1)
    if a.hwc[:2] == (1, 1) and b.hwc[:2] != (1, 1):
        a, b = b, a
    gate = b.hwc == (1, 1, a.hwc[2]) and b.dims == tuple(d if d == a.whole("C") else () for d in a.dims)
    if not gate and (a.hwc != b.hwc or a.dims != b.dims):
        raise unequal(a, b, "multiplies", "the second needs the same shape or one value per channel")
    scales = [state.assembly.scale_of(_view.tensor) for _view in (state.view(op, 0), state.view(op, 1))]
    requant = arithmetic.tflite_requant(_mul_scale(scales[0], scales[1], out.scale))
    check_range(255 * 255, requant)
    name = state.assembly.emit(
        Mul, op.name, (a.tensor, b.tensor), a.hwc, out.scale, out.zero, requant=requant, clamp=clamp
    )  # fmt: skip
    return Value(a.named(name), "INT8")


def _scaled_per_channel(state: State, op: FileOp, at: int, constant: int, clamp: tuple[int, int]) -> Value:
    """MUL by one constant per channel: exactly a 1x1 depthwise convolution."""
    view, other, out = state.view(op, at), input_of(op, constant), output_of(op)
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
    out = output_of(op)
    if clamp_of(op, out.scale, out.zero) != (-128, 127):
        raise UnsupportedError("a fused activation is not supported here")
    parts = [state.view(op, at) for at in range(len(op.inputs))]
    first = parts[0]
    axis = int(op.option("Axis")) % len(first.dims)
    for view in parts:
        rest = [dim for i, dim in enumerate(view.dims) if i != axis]
        same = view.hwc[:2] == first.hwc[:2] and rest == [dim for i, dim in enumerate(first.dims) if i != axis]
        if not same or view.dims[axis] != view.whole("C"):
            raise OrderError(
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


def _looked_up(state: State, op: FileOp, view: View, table: Int8Array) -> Value:
    out = op.outputs[0]
    tensor = state.assembly.tensors[view.tensor]
    same = (tensor.scale, tensor.zero_point) == (out.scale, out.zero)
    if same and np.array_equal(table, np.arange(-128, 128)):
        return Value(view, out.type)
    name = state.assembly.emit(Lookup, op.name, (view.tensor,), view.hwc, out.scale, out.zero, table=table)
    return Value(view.named(name), out.type)


def function(state: State, op: FileOp) -> Value:
    view, out = state.view(op, 0), output_of(op)
    tensor = state.assembly.tensors[view.tensor]
    table = tflite_tables.TABLES[op.op](op, tensor.scale, tensor.zero_point, out.scale, out.zero)
    return _looked_up(state, op, view, table)


def quantize(state: State, op: FileOp) -> Value:
    """The model's float input becomes int8 here; elsewhere it changes the scale."""
    view, source, out = state.any_view(op, 0), input_of(op, 0), op.outputs[0]
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
    view, out = state.view(op, 0), output_of(op)
    if not view.dims or not view.dims[-1] or view.dims[-1] != view.whole("C"):
        raise OrderError("it does not run over the channels", "apply softmax along the channel axis only")
    if (out.scale, out.zero) != SOFTMAX_OUTPUT:
        raise UnsupportedError(f"its output scale is {out.scale}, not 1/256", INTEGER)
    name = emit_softmax(state.assembly, op.name, view.tensor, float(op.option("Beta", 1.0)))
    return Value(view.named(name), "INT8")


OPERATORS: dict[str, Convert] = {
    "ADD": add, "SUB": add, "MUL": mul, "CONCATENATION": concatenation, "SOFTMAX": softmax,
    "QUANTIZE": quantize, "DEQUANTIZE": dequantize, **dict.fromkeys(tflite_tables.TABLES, function),
}  # fmt: skip
