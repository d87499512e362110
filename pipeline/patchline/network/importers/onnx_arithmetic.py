"""ONNX arithmetic: functions of one tensor, sums and products of two, joins of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic
from patchline.network.importers import functions
from patchline.network.importers.assembly import (
    SOFTMAX_OUTPUT,
    Assembly,
    Function,
    check_range,
    emit_softmax,
    table_of,
)
from patchline.network.importers.onnx_convolutions import affine
from patchline.network.importers.onnx_values import (
    FULL,
    NOT_QUANTISED,
    Const,
    Convert,
    Inputs,
    Node,
    Pending,
    Real,
    Value,
    constant,
    is_constant,
    real_view,
)
from patchline.network.importers.problems import QUANTISE, OrderError, UnsupportedError
from patchline.network.importers.views import View, unequal
from patchline.network.ir import Add, Concat, Lookup, Mul


def function_of(assembly: Assembly, node: Node, value: Value | None, function: Function) -> Pending:
    """An elementwise function of a quantised tensor (joined to the function that `value` is already)."""
    if isinstance(value, Pending):
        if value.function is None:
            raise UnsupportedError(f"its input comes from {value.node}: {NOT_QUANTISED}", QUANTISE)
        inner, view, source = value.function, value.view, value.source
        whole: Function = lambda x: function(inner(x))  # noqa: E731
    else:
        view = real_view(value)
        source, whole = view.tensor, function

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        tensor = assembly.tensors[source]
        table = np.clip(table_of(whole, tensor.scale, tensor.zero_point, scale, zero_point), *clamp)
        return assembly.emit(Lookup, node.name, (source,), tensor.shape, scale, zero_point, table=table)

    return Pending(node.name, view, emit, source=source, function=whole)


def activation(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    """Relu and Clip limit what waits for its scale; every other function becomes a table."""
    bounds = _bounds(node, inputs)
    value = inputs[0]
    if bounds and isinstance(value, Pending) and value.function is None:
        if value.is_input:
            raise UnsupportedError("it works on the model's input before that is quantised", QUANTISE)
        return value.clamped(*bounds)
    if bounds:
        return function_of(assembly, node, value, lambda x: np.clip(x, np.float32(bounds[0]), np.float32(bounds[1])))
    if node.op == "PRelu":
        slope = constant(inputs[1], "the slope")
        if slope.size != 1:
            raise UnsupportedError("a slope per channel is not supported", "use LeakyRelu or one slope")
        return function_of(assembly, node, value, functions.leaky_relu(float(slope.reshape(()))))
    pending = function_of(assembly, node, value, functions.of_onnx(node))
    return replace(pending, natural=functions.NATURAL.get(node.op))


def _bounds(node: Node, inputs: Inputs) -> tuple[float, float] | None:
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    low, high = node.float("min", -np.inf), node.float("max", np.inf)
    if len(inputs) > 1 and inputs[1] is not None:
        low = float(constant(inputs[1], "the lower limit").reshape(()))
    if len(inputs) > 2 and inputs[2] is not None:
        high = float(constant(inputs[2], "the upper limit").reshape(()))
    if not low <= high:
        raise UnsupportedError(f"it clips to [{low}, {high}]")
    return low, high


def softmax(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    view = real_view(inputs[0])
    rank = len(view.dims)
    axis = node.int("axis", -1 if opset >= 13 else 1) % max(rank, 1)
    spread = view.dims[axis + 1 :] if opset < 13 else ()  # before opset 13 all dimensions from `axis` on count as one
    if not view.dims[axis] or view.dims[axis] != view.whole("C") or any(spread):
        raise OrderError("it does not run over the channels", "apply softmax along the channel axis only")
    source, natural = view.tensor, SOFTMAX_OUTPUT

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        result = emit_softmax(assembly, node.name, source)
        hwc = assembly.tensors[source].shape
        if (scale, zero_point) == natural and clamp == FULL:
            return result
        rescale = np.clip(table_of(lambda x: x, *natural, scale, zero_point), *clamp)
        return assembly.emit(Lookup, f"{node.name}_scale", (result,), hwc, scale, zero_point, table=rescale)

    return Pending(node.name, view, emit, natural=natural)


ARITHMETIC: dict[str, Callable[[NDArray, NDArray], NDArray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide,
}  # fmt: skip


def binary(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    a, b = inputs[0], inputs[1]
    operation = ARITHMETIC[node.op]
    if is_constant(a) and is_constant(b):
        return Const(operation(constant(a, "an input"), constant(b, "an input")))
    if is_constant(b):
        return _with_constant(assembly, node, a, constant(b, "an input").astype(np.float64), right=True)
    if is_constant(a):
        return _with_constant(assembly, node, b, constant(a, "an input").astype(np.float64), right=False)
    same = _joined_functions(a, b, operation)
    if same is not None:
        return function_of(assembly, node, Real(same[0]), same[1])
    if node.op == "Add":
        return _add(assembly, node, real_view(a), real_view(b))
    if node.op == "Mul":
        return _mul(assembly, node, real_view(a), real_view(b))
    raise UnsupportedError(f"{node.op} of two tensors is not supported", "rewrite it as Add or Mul")


def _joined_functions(
    a: Value | None, b: Value | None, operation: Callable[[NDArray, NDArray], NDArray]
) -> tuple[View, Function] | None:
    """x * sigmoid(x) and the like: both sides are functions of the same tensor, so their combination is one, too."""
    sides: list[tuple[View, Function]] = []
    for value in (a, b):
        if isinstance(value, Pending) and value.function is not None:
            sides.append((value.view.named(value.source), value.function))
        elif isinstance(value, Real):
            sides.append((value.view, lambda x: x))
    if len(sides) < 2 or sides[0][0] != sides[1][0] or (isinstance(a, Real) and isinstance(b, Real)):
        return None
    first, second = sides[0][1], sides[1][1]
    return sides[0][0], lambda x: operation(first(x), second(x))


def _with_constant(assembly: Assembly, node: Node, value: Value | None, factor: NDArray, right: bool) -> Value:
    operation = ARITHMETIC[node.op]
    folds = isinstance(value, Pending) and value.scaled is not None
    if factor.size == 1 and not folds:
        number = factor.reshape(()).astype(np.float32)
        return function_of(
            assembly, node, value, (lambda x: operation(x, number)) if right else (lambda x: operation(number, x))
        )
    if node.op == "Div" and not right:
        raise UnsupportedError("division by a tensor is not supported")
    view = value.view if isinstance(value, Pending) and folds else real_view(value)
    _check_per_channel(view, factor)
    gain, shift = _as_affine(node.op, np.broadcast_to(factor.reshape(-1), (view.hwc[2],)), right)
    if isinstance(value, Pending) and value.scaled is not None:
        if not (np.all(np.isfinite(gain)) and np.all(gain) and np.all(np.isfinite(shift))):
            raise UnsupportedError(
                "its constants are 0 or not finite", "remove it, or the channels that it switches off"
            )
        return value.scaled(gain, shift)
    return affine(assembly, node, view, gain, shift)


def _as_affine(op: str, constant: NDArray[np.float64], right: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(gain, shift) of an operation with a constant on one side, per channel."""
    one, nothing = np.ones_like(constant), np.zeros_like(constant)
    if op == "Add":
        return one, constant
    if op == "Sub":
        return (one, -constant) if right else (-one, constant)
    with np.errstate(divide="ignore"):
        return (constant if op == "Mul" else 1 / constant), nothing


def _check_per_channel(view: View, factor: NDArray) -> None:
    """Raise UnsupportedError unless `factor` is one number or has one value per channel when broadcast to the view."""
    shape = (1,) * (len(view.dims) - factor.ndim) + factor.shape
    for dim, size in zip(view.dims, shape, strict=False):
        if size != 1 and (dim != view.whole("C") or size != view.hwc[2]):
            kind = OrderError if size == prod(axis.size for axis in dim) else UnsupportedError
            raise kind(
                f"a constant of shape {list(factor.shape)} does not vary by channel only", "use one value per channel"
            )
    if len(shape) != len(view.dims):
        raise UnsupportedError(f"a constant of shape {list(factor.shape)} does not fit shape {list(view.shape)}")


def _add(assembly: Assembly, node: Node, a: View, b: View) -> Pending:
    if a.hwc != b.hwc or a.dims != b.dims:
        raise unequal(a, b, "adds", "both need the same shape and layout")
    first, second = a.tensor, b.tensor

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        x, y = assembly.tensors[first], assembly.tensors[second]
        multipliers, shift, offset = arithmetic.add_constants(
            x.scale, x.zero_point, y.scale, y.zero_point, scale, zero_point
        )
        return assembly.emit(
            Add, node.name, (first, second), x.shape, scale, zero_point, multipliers=multipliers, shifts=(shift,),
            offset=offset, clamp=clamp,
        )  # fmt: skip

    return Pending(node.name, a, emit)


def _mul(assembly: Assembly, node: Node, a: View, b: View) -> Pending:
    if a.hwc[:2] == (1, 1) and b.hwc[:2] != (1, 1):
        a, b = b, a
    gate = b.hwc == (1, 1, a.hwc[2]) and b.dims == tuple(d if d == a.whole("C") else () for d in a.dims)
    if not gate and (a.hwc != b.hwc or a.dims != b.dims):
        raise unequal(a, b, "multiplies", "the second needs the same shape or one value per channel")
    first, second = a.tensor, b.tensor

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        x, y = assembly.tensors[first], assembly.tensors[second]
        requant = arithmetic.single_requant(x.scale * y.scale / scale)
        check_range(255 * 255, requant)
        return assembly.emit(
            Mul, node.name, (first, second), x.shape, scale, zero_point, requant=requant, clamp=clamp
        )  # fmt: skip

    return Pending(node.name, a, emit)


def concat(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    if all(is_constant(value) for value in inputs):
        return Const(np.concatenate([np.atleast_1d(constant(v, "an input")) for v in inputs], axis=node.int("axis", 0)))
    views = [real_view(value) for value in inputs]
    first = views[0]
    axis = node.int("axis", 0) % len(first.dims)
    for view in views:
        rest = [dim for i, dim in enumerate(view.dims) if i != axis]
        same = view.hwc[:2] == first.hwc[:2] and rest == [dim for i, dim in enumerate(first.dims) if i != axis]
        if not same or view.dims[axis] != view.whole("C"):
            raise OrderError(
                "it does not join channels of maps of the same size",
                "join along the channel axis only; give detection heads as separate outputs",
            )
    hwc = (*first.hwc[:2], sum(view.hwc[2] for view in views))
    target = View("", hwc, ())
    out = replace(target, dims=tuple(target.whole("C") if i == axis else dim for i, dim in enumerate(first.dims)))
    sources = tuple(view.tensor for view in views)

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        tables = []
        for source in sources:
            tensor = assembly.tensors[source]
            same = (tensor.scale, tensor.zero_point) == (scale, zero_point) and clamp == FULL
            table = table_of(lambda x: x, tensor.scale, tensor.zero_point, scale, zero_point)
            tables.append(None if same else np.clip(table, *clamp))
        return assembly.emit(Concat, node.name, sources, hwc, scale, zero_point, tables=tuple(tables))

    return Pending(node.name, out, emit)


OPERATORS: dict[str, Convert] = {
    "Add": binary, "Sub": binary, "Mul": binary, "Div": binary, "Concat": concat, "Softmax": softmax,
    "Relu": activation, "Clip": activation, "PRelu": activation, **dict.fromkeys(functions.ONNX, activation),
}  # fmt: skip
