"""ONNX operators that compute: quantisation, convolutions, arithmetic, pooling, functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic, fixedpoint
from patchline.network.importers import functions
from patchline.network.importers.assembly import (
    Assembly,
    Function,
    WindowPair,
    check_range,
    covering,
    dense_weights,
    emit_convolution,
    table_of,
)
from patchline.network.importers.onnx_values import (
    NOT_QUANTISED,
    QUANTISE,
    Const,
    Node,
    Pending,
    Quant,
    QuantConst,
    Real,
    Value,
    constant,
    is_constant,
    real_view,
)
from patchline.network.importers.problems import UnsupportedError
from patchline.network.importers.views import View, image
from patchline.network.ir import Add, Concat, GlobalPool, Lookup, Mul, Pool, Softmax

Inputs = list[Value | None]
Convert = Callable[[Assembly, Node, Inputs, int], Value]
FULL = (-128, 127)


# --- quantisation ----------------------------------------------------------------------------------------------------


def _parameters(node: Node, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.int64], np.dtype]:
    """Scales, zero points and type of a QuantizeLinear or DequantizeLinear."""
    scale = np.atleast_1d(constant(inputs[1], "the scale")).astype(np.float64).ravel()
    given = inputs[2] if len(inputs) > 2 else None
    if given is None:
        return scale, np.zeros(scale.shape, np.int64), np.dtype(np.uint8)
    if not isinstance(given, Const):
        raise UnsupportedError("its zero point is not a constant")
    zero = np.atleast_1d(given.array).ravel()
    if zero.size != scale.size or scale.size == 0:
        raise UnsupportedError(f"it has {scale.size} scales and {zero.size} zero points", "quantise the model again")
    if zero.dtype not in (np.int8, np.uint8, np.int32):
        raise UnsupportedError(f"it quantises to {zero.dtype}", "quantise activations and weights to 8 bits")
    return scale, zero.astype(np.int64), zero.dtype


def _activation(scale: NDArray, zero: NDArray, dtype: np.dtype) -> tuple[float, int]:
    if scale.size != 1:
        raise UnsupportedError("an activation is quantised per channel", "quantise activations per tensor")
    if dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"an activation is quantised to {dtype}", "quantise activations to 8 bits")
    return float(scale[0]), int(zero[0]) - (128 if dtype == np.uint8 else 0)


def quantize(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    scale, zero, dtype = _parameters(node, inputs)
    value = inputs[0]
    if is_constant(value):
        return _quantised_constant(node, value, scale, zero, dtype)
    target = _activation(scale, zero, dtype)
    unsigned = dtype == np.uint8
    if isinstance(value, Real):
        view = value.view
        if not view.tensor:
            raise UnsupportedError("the input is dequantised without a scale")
        if (assembly.scale_of(view.tensor), assembly.zero_of(view.tensor)) == target:
            return Quant(view, unsigned)
        value = _function(assembly, node, value, lambda x: x)
    if not isinstance(value, Pending):
        raise UnsupportedError("it quantises what is quantised already")
    if value.is_input and assembly.input:
        return _input_again(assembly, value, target, unsigned)
    return Quant(value.quantised(*target), unsigned)


def _input_again(assembly: Assembly, value: Pending, target: tuple[float, int], unsigned: bool) -> Value:
    if (assembly.scale_of(assembly.input), assembly.zero_of(assembly.input)) != target:
        raise UnsupportedError("the model's input is quantised twice, differently", "quantise the input once")
    return Quant(value.view.named(assembly.input), unsigned)


def _quantised_constant(
    node: Node, value: Value | None, scale: NDArray, zero: NDArray, dtype: np.dtype
) -> QuantConst | Const:
    real = constant(value, "the weights").astype(np.float64)
    holder = QuantConst(np.zeros(real.shape, np.int64), scale, zero, _axis(node, real.ndim))
    limits = np.iinfo(dtype)
    ints = np.clip(np.rint(real / holder._along(scale)) + holder._along(zero), limits.min, limits.max)
    return Const(ints.astype(dtype))


def _axis(node: Node, rank: int) -> int:
    axis = node.int("axis", 1)
    return axis + rank if axis < 0 else axis


def dequantize(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    scale, zero, dtype = _parameters(node, inputs)
    value = inputs[0]
    if isinstance(value, Const):
        if value.array.dtype not in (np.int8, np.uint8, np.int32):
            raise UnsupportedError(f"weights are stored as {value.array.dtype}", "quantise weights to int8")
        if not np.all(np.isfinite(scale) & (scale > 0)):
            raise UnsupportedError("a scale is not a positive number", "quantise the model again")
        axis = _axis(node, value.array.ndim) if scale.size > 1 else 0
        if scale.size > 1 and (axis >= value.array.ndim or value.array.shape[axis] != scale.size):
            raise UnsupportedError(f"{scale.size} scales do not fit a tensor of shape {value.array.shape}")
        return QuantConst(value.array.astype(np.int64), scale, zero, axis)
    if not isinstance(value, Quant):
        raise UnsupportedError("it dequantises what is not quantised")
    if len(inputs) < 3 and not value.unsigned:
        dtype = np.dtype(np.int8)
    target = _activation(scale, zero, dtype)
    if not value.view.tensor:  # the network's int8 or uint8 input gets its scale here
        tensor = assembly.input or assembly.add_input("input", value.view.hwc, *target)
        value = Quant(value.view.named(tensor), value.unsigned)
    if (assembly.scale_of(value.view.tensor), assembly.zero_of(value.view.tensor)) != target:
        raise UnsupportedError("its scale or zero point differs from the QuantizeLinear before it", "quantise again")
    return Real(value.view)


# --- convolutions ----------------------------------------------------------------------------------------------------


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


def _sum(
    assembly: Assembly, node: Node, source: str, weights: NDArray[np.int64], scales: NDArray[np.float64],
    bias: NDArray[np.float64], window: WindowPair, view: View,
) -> Pending:  # fmt: skip
    """A convolution that waits for its output scale; `scales` are those of the weights, `bias` in accumulator steps."""
    steps = assembly.scale_of(source) * scales

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        requant = arithmetic.single_requant(steps / scale)
        ints = np.rint(bias).astype(np.int64)
        return emit_convolution(
            assembly, node.name, source, weights, ints, requant, window, scale, zero_point, clamp
        )  # fmt: skip

    def add_bias(real: NDArray[np.float64]) -> Pending:
        return _sum(assembly, node, source, weights, scales, bias + real / steps, window, view)

    return Pending(node.name, view, emit, add_bias=add_bias)


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
    return _sum(assembly, node, view.tensor, arranged, scales, bias, window, out)


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
        raise UnsupportedError("it works on a part of rows, columns and channels", "flatten the whole image")
    target = View("", (*out, channels), ())
    dims = (*(() if covering(view, last) else dim for dim in view.dims[:-1]), target.whole("C"))
    window = WindowPair(kernel, (1, 1), (0, 0), out)
    return _sum(assembly, node, view.tensor, arranged, scales, steps, window, replace(target, dims=dims))


def transposed_constant(value: QuantConst, order: list[int]) -> QuantConst:
    axis = order.index(value.axis) if value.scale.size > 1 else 0
    return replace(value, values=value.values.transpose(order), axis=axis)


# --- functions of one tensor -----------------------------------------------------------------------------------------


def _function(assembly: Assembly, node: Node, value: Value | None, function: Function) -> Pending:
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
        return _function(assembly, node, value, lambda x: np.clip(x, np.float32(bounds[0]), np.float32(bounds[1])))
    if node.op == "PRelu":
        slope = constant(inputs[1], "the slope")
        if slope.size != 1:
            raise UnsupportedError("a slope per channel is not supported", "use LeakyRelu or one slope")
        return _function(assembly, node, value, functions.leaky_relu(float(slope.reshape(()))))
    pending = _function(assembly, node, value, functions.of_onnx(node))
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
        raise UnsupportedError("it does not run over the channels", "apply softmax along the channel axis only")
    source, natural = view.tensor, (1 / 256, -128)

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        table = fixedpoint.softmax_exp_table(assembly.scale_of(source))
        hwc = assembly.tensors[source].shape
        result = assembly.emit(Softmax, node.name, (source,), hwc, *natural, exp_table=table)
        if (scale, zero_point) == natural and clamp == FULL:
            return result
        rescale = np.clip(table_of(lambda x: x, *natural, scale, zero_point), *clamp)
        return assembly.emit(Lookup, f"{node.name}_scale", (result,), hwc, scale, zero_point, table=rescale)

    return Pending(node.name, view, emit, natural=natural)


# --- arithmetic of two tensors ---------------------------------------------------------------------------------------

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
        return _function(assembly, node, Real(same[0]), same[1])
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
    if node.op == "Add" and isinstance(value, Pending) and value.add_bias and factor.size in (1, value.view.hwc[2]):
        _check_per_channel(value.view, factor)
        return value.add_bias(factor.reshape(-1))
    if factor.size == 1:
        number = factor.reshape(()).astype(np.float32)
        return _function(
            assembly, node, value, (lambda x: operation(x, number)) if right else (lambda x: operation(number, x))
        )
    view = real_view(value)
    _check_per_channel(view, factor)
    channel = factor.reshape(-1)
    if node.op == "Div" and not right:
        raise UnsupportedError("division by a tensor is not supported")
    gain = {"Add": np.ones_like(channel), "Sub": np.full_like(channel, 1.0 if right else -1.0), "Mul": channel}
    shift = {"Add": channel, "Sub": channel * (-1.0 if right else 1.0)}
    return affine(
        assembly, node, view, gain.get(node.op, 1 / channel), shift.get(node.op, np.zeros_like(channel))
    )  # fmt: skip


def _check_per_channel(view: View, factor: NDArray) -> None:
    """Raise UnsupportedError unless `factor` is one number or has one value per channel when broadcast to the view."""
    shape = (1,) * (len(view.dims) - factor.ndim) + factor.shape
    for dim, size in zip(view.dims, shape, strict=False):
        if size != 1 and (dim != view.whole("C") or size != view.hwc[2]):
            raise UnsupportedError(
                f"a constant of shape {list(factor.shape)} does not vary by channel only", "use one value per channel"
            )
    if len(shape) != len(view.dims):
        raise UnsupportedError(f"a constant of shape {list(factor.shape)} does not fit shape {list(view.shape)}")


def affine(assembly: Assembly, node: Node, view: View, gain: NDArray, shift: NDArray) -> Pending:
    """gain * x + shift per channel, as a 1x1 depthwise convolution with weights of +-127."""
    if not (np.all(np.isfinite(gain)) and np.all(np.isfinite(shift))):
        raise UnsupportedError("its constants are not finite")
    step = assembly.scale_of(view.tensor)
    scales = np.maximum(np.abs(gain) / 127, np.abs(shift) / (step * 2.0**29))
    scales = np.where(scales > 0, scales, 1 / 127)
    weights = np.rint(gain / scales).astype(np.int64).reshape(1, 1, -1)
    window = WindowPair((1, 1), (1, 1), (0, 0), view.hwc[:2])
    return _sum(assembly, node, view.tensor, weights, scales, shift / (step * scales), window, view)


def batch_norm(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    scale, bias, mean, variance = (
        constant(value, "a parameter").reshape(-1).astype(np.float64) for value in inputs[1:5]
    )
    if isinstance(inputs[0], Pending):
        raise UnsupportedError("it is not folded into the convolution before it", "quantise after quant_pre_process")
    view, _ = assembly.image(real_view(inputs[0]), "NCHW")
    gain = scale / np.sqrt(variance + node.float("epsilon", 1e-5))
    return affine(assembly, node, view, gain, bias - mean * gain)


def _add(assembly: Assembly, node: Node, a: View, b: View) -> Pending:
    if a.hwc != b.hwc or a.dims != b.dims:
        raise UnsupportedError(
            f"it adds tensors of shapes {list(a.shape)} and {list(b.shape)}", "both need the same shape and layout"
        )
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
        raise UnsupportedError(
            f"it multiplies tensors of shapes {list(a.shape)} and {list(b.shape)}",
            "the second needs the same shape or one value per channel",
        )
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
            raise UnsupportedError(
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


# --- pooling ---------------------------------------------------------------------------------------------------------


def max_pool(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    view, place = assembly.image(real_view(inputs[0]), "NCHW")
    if node.op == "GlobalMaxPool":
        window = WindowPair(view.hwc[:2], (1, 1), (0, 0), (1, 1))
    else:
        window = _pool_window(node, view, place.swapped)
    tensor = assembly.tensors[view.tensor]
    hwc = (*window.out, view.hwc[2])
    name = assembly.emit(
        Pool, node.name, (tensor.name,), hwc, tensor.scale, tensor.zero_point, kind="max", kernel=window.kernel,
        stride=window.stride, pad=window.pad,
    )  # fmt: skip
    return Real(image(hwc, "NCHW", place.swapped).named(name))


def _pool_window(node: Node, view: View, swapped: bool) -> WindowPair:
    kernel = node.ints("kernel_shape", [])
    if len(kernel) != 2:
        raise UnsupportedError(f"kernel {kernel} does not describe an image operator")
    return window_of(node, view.hwc[:2], (kernel[0], kernel[1]), swapped, bool(node.int("ceil_mode", 0)))


def average_pool(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    view, place = assembly.image(real_view(inputs[0]), "NCHW")
    window = _pool_window(node, view, place.swapped)
    if window.whole and window.kernel == view.hwc[:2]:
        return _global_mean(assembly, node, view, image((1, 1, view.hwc[2]), "NCHW"))
    cells = window.kernel[0] * window.kernel[1]
    with_padding = bool(node.int("count_include_pad", 0))
    if with_padding and node.int("ceil_mode", 0) and window.reaches(view.hwc[:2]):
        raise UnsupportedError("ceil_mode together with count_include_pad is not supported", "use explicit padding")
    counts = np.full(cells, cells) if with_padding else np.arange(1, cells + 1)
    hwc = (*window.out, view.hwc[2])
    return _mean(assembly, node, view.tensor, window, counts, image(hwc, "NCHW", place.swapped))


def _mean(
    assembly: Assembly, node: Node, source: str, window: WindowPair, counts: NDArray[np.int64], view: View
) -> Pending:
    """Average over windows; `counts[n - 1]` is what the sum over n cells is divided by."""

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        requant = arithmetic.single_requant(assembly.scale_of(source) / scale / counts)
        check_range(255.0 * len(counts), requant)
        return assembly.emit(
            Pool, node.name, (source,), view.hwc, scale, zero_point, kind="average", kernel=window.kernel,
            stride=window.stride, pad=window.pad, requant=requant, clamp=clamp,
        )  # fmt: skip

    return Pending(node.name, view, emit, natural=(assembly.scale_of(source), assembly.zero_of(source)))


def _global_mean(assembly: Assembly, node: Node, source: View, view: View) -> Pending:
    tensor, cells = source.tensor, source.hwc[0] * source.hwc[1]

    def emit(scale: float, zero_point: int, clamp: tuple[int, int]) -> str:
        requant = arithmetic.single_requant(assembly.scale_of(tensor) / scale / cells)
        check_range(255.0 * cells, requant)
        return assembly.emit(
            GlobalPool, node.name, (tensor,), view.hwc, scale, zero_point, requant=requant, clamp=clamp
        )  # fmt: skip

    return Pending(node.name, view, emit, natural=(assembly.scale_of(tensor), assembly.zero_of(tensor)))


def global_average(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    view, _ = assembly.image(real_view(inputs[0]), "NCHW")
    return _global_mean(assembly, node, view, image((1, 1, view.hwc[2]), "NCHW"))


def reduce_mean(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    view = real_view(inputs[0])
    given = inputs[1] if len(inputs) > 1 else None
    axes = node.ints("axes", []) if given is None else [int(v) for v in constant(given, "the axes").reshape(-1)]
    rank = len(view.dims)
    if not axes:
        raise UnsupportedError("it averages over everything", "average over height and width only")
    return _mean_over(assembly, node, view, {axis % rank for axis in axes}, bool(node.int("keepdims", 1)))


def _mean_over(assembly: Assembly, node: Node, view: View, axes: set[int], keep: bool) -> Pending:
    letters = {axis.letter for i in axes for axis in view.dims[i]}
    if "C" in letters or not all(view.dims[i] == view.whole(letter) for i in axes for letter in view.letters(i)):
        raise UnsupportedError("it averages over channels or parts of an axis", "average over height and width only")
    height, width, channels = view.hwc
    hwc = (1 if "H" in letters else height, 1 if "W" in letters else width, channels)
    dims = [() if i in axes else dim for i, dim in enumerate(view.dims)]
    out = View("", hwc, tuple(dim for i, dim in enumerate(dims) if keep or i not in axes))
    if hwc[:2] == (1, 1):
        return _global_mean(assembly, node, view, out)
    kernel = (height if "H" in letters else 1, width if "W" in letters else 1)
    window = WindowPair(kernel, (1, 1), (0, 0), (hwc[0], hwc[1]))
    return _mean(assembly, node, view.tensor, window, np.arange(1, kernel[0] * kernel[1] + 1), out)


OPERATORS: dict[str, Convert] = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize,
    "Conv": conv, "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_norm,
    "Add": binary, "Sub": binary, "Mul": binary, "Div": binary, "Concat": concat,
    "Relu": activation, "Clip": activation, "PRelu": activation,
    **dict.fromkeys(functions.ONNX, activation),
    "Softmax": softmax, "MaxPool": max_pool, "GlobalMaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_average, "ReduceMean": reduce_mean,
}  # fmt: skip
