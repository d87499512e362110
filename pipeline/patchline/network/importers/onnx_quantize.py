"""QuantizeLinear and DequantizeLinear: where ONNX values get and lose their scale."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from patchline.network.importers.assembly import (
    Assembly,
)
from patchline.network.importers.onnx_arithmetic import function_of
from patchline.network.importers.onnx_values import (
    Const,
    Convert,
    Inputs,
    Node,
    Pending,
    Quant,
    QuantConst,
    Real,
    Value,
    constant,
    is_constant,
)
from patchline.network.importers.problems import AGAIN, UnsupportedError

ATTRIBUTES = {
    "QuantizeLinear": ("axis", "block_size", "output_dtype", "precision", "saturate"),
    "DequantizeLinear": ("axis", "block_size", "output_dtype"),
}
"""What these nodes may say. `saturate` is about 8-bit floats, which are refused; a word that is not here might change
the values and is refused as well."""


def _parameters(node: Node, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.int64], np.dtype | None]:
    """Scales, zero points and, where a zero point is given, its type."""
    _check_attributes(node)
    scale = np.atleast_1d(constant(inputs[1], "the scale")).astype(np.float64).ravel()
    given = inputs[2] if len(inputs) > 2 else None
    if given is None:
        return scale, np.zeros(scale.shape, np.int64), None
    if not isinstance(given, Const):
        raise UnsupportedError("its zero point is not a constant")
    zero = np.atleast_1d(given.array).ravel()
    if zero.size != scale.size or scale.size == 0:
        raise UnsupportedError(f"it has {scale.size} scales and {zero.size} zero points", AGAIN)
    _check_type(zero.dtype)
    return scale, zero.astype(np.int64), zero.dtype


def _check_attributes(node: Node) -> None:
    unknown = [name for name in node.attributes if name not in ATTRIBUTES[node.op]]
    if unknown:
        raise UnsupportedError(f"its attribute '{unknown[0]}' is not known", "export the model without it")
    if node.int("block_size", 0):
        raise UnsupportedError(
            f"it has a scale for every block of {node.int('block_size', 0)} values",
            "quantise with one scale per tensor, or per output channel of weights",
        )
    reals = ("precision",) if node.op == "QuantizeLinear" else ("output_dtype",)
    for name in reals:
        if node.int(name, 0) not in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT):
            raise UnsupportedError(f"its {name} is {_type_name(node.int(name, 0))}", "export the model in float32")


def _check_type(dtype: np.dtype) -> None:
    if dtype not in (np.int8, np.uint8, np.int32):
        raise UnsupportedError(f"it quantises to {dtype}", "quantise activations and weights to 8 bits")


def _type_name(number: int) -> str:
    known = {value: name.lower() for name, value in onnx.TensorProto.DataType.items()}
    return known.get(number, f"type {number}")


def _quantised_type(node: Node, given: np.dtype | None) -> np.dtype:
    """What a QuantizeLinear makes: the type of its zero point, else `output_dtype`, else uint8."""
    number = node.int("output_dtype", 0)
    if number == onnx.TensorProto.UNDEFINED:
        return given or np.dtype(np.uint8)
    try:
        wanted = onnx.helper.tensor_dtype_to_np_dtype(number)
    except (KeyError, ValueError):
        wanted = None
    if wanted is None or wanted not in (np.int8, np.uint8, np.int32):
        raise UnsupportedError(f"it quantises to {_type_name(number)}", "quantise activations and weights to 8 bits")
    if given not in (None, wanted):
        raise UnsupportedError(f"its zero point is {given}, its output_dtype {wanted}", "export the model again")
    return wanted


def _activation(scale: NDArray, zero: NDArray, dtype: np.dtype) -> tuple[float, int]:
    if scale.size != 1:
        raise UnsupportedError("an activation is quantised per channel", "quantise activations per tensor")
    if dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"an activation is quantised to {dtype}", "quantise activations to 8 bits")
    return float(scale[0]), int(zero[0]) - (128 if dtype == np.uint8 else 0)


def quantize(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    scale, zero, given = _parameters(node, inputs)
    dtype = _quantised_type(node, given)
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
        value = function_of(assembly, node, value, lambda x: x)
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
            raise UnsupportedError("a scale is not a positive number", AGAIN)
        axis = _axis(node, value.array.ndim) if scale.size > 1 else 0
        if scale.size > 1 and (axis >= value.array.ndim or value.array.shape[axis] != scale.size):
            raise UnsupportedError(f"{scale.size} scales do not fit a tensor of shape {value.array.shape}")
        return QuantConst(value.array.astype(np.int64), scale, zero, axis)
    if not isinstance(value, Quant):
        raise UnsupportedError("it dequantises what is not quantised")
    target = _activation(scale, zero, dtype or np.dtype(np.uint8 if value.unsigned else np.int8))
    if not value.view.tensor:  # the network's int8 or uint8 input gets its scale here
        tensor = assembly.input or assembly.add_input("input", value.view.hwc, *target)
        value = Quant(value.view.named(tensor), value.unsigned)
    if (assembly.scale_of(value.view.tensor), assembly.zero_of(value.view.tensor)) != target:
        raise UnsupportedError("its scale or zero point differs from the QuantizeLinear before it", AGAIN)
    return Real(value.view)


OPERATORS: dict[str, Convert] = {
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize,
}  # fmt: skip
