"""ONNX operators that move or rename data: reshapes, transposes, padding, enlargement, and constants of shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from patchline.network.importers import views
from patchline.network.importers.assembly import Assembly
from patchline.network.importers.onnx_convolutions import transposed_constant
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
    real_view,
)
from patchline.network.importers.problems import UnsupportedError
from patchline.network.importers.views import View, image
from patchline.network.ir import Pad, Upsample

MAX_FOLDED = 4096
"""Values of a constant that is computed at import; shapes are small, anything larger is a mistake."""


def _renamed(value: Value | None, change: Callable[[View], View], array: Callable[[NDArray], NDArray]) -> Value:
    """`value` with its dimensions changed; constants have the same done to their array."""
    if isinstance(value, (Quant, Real, Pending)):
        return replace(value, view=change(value.view))
    if isinstance(value, Const):
        return Const(array(value.array))
    if isinstance(value, QuantConst) and value.scale.size == 1:
        return replace(value, values=array(value.values))
    raise UnsupportedError("it reshapes weights that are quantised per channel", "export with the reshape done")


def _shape_of(value: Value | None) -> tuple[int, ...]:
    if isinstance(value, (Quant, Real, Pending)):
        return value.view.shape
    if isinstance(value, Const):
        return value.array.shape
    if isinstance(value, QuantConst):
        return value.values.shape
    raise UnsupportedError("an input is missing")


def _reshaped(value: Value | None, shape: list[int]) -> Value:
    return _renamed(value, lambda view: views.reshape(view, shape), lambda array: array.reshape(shape))


def passed(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    if inputs[0] is None:
        raise UnsupportedError("an input is missing")
    return inputs[0]


def reshape(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    wanted = node.ints("shape", []) if len(inputs) < 2 else constant(inputs[1], "the shape").reshape(-1).tolist()
    old = _shape_of(inputs[0])
    keep = not node.int("allowzero", 0)
    shape = [old[i] if n == 0 and keep and i < len(old) else int(n) for i, n in enumerate(wanted)]
    return _reshaped(inputs[0], shape)


def flatten(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    old = _shape_of(inputs[0])
    axis = node.int("axis", 1)
    axis = axis + len(old) if axis < 0 else axis
    return _reshaped(inputs[0], [prod(old[:axis]), prod(old[axis:])])


def _axes(node: Node, inputs: Inputs, rank: int) -> list[int]:
    given = inputs[1] if len(inputs) > 1 else None
    axes = node.ints("axes", []) if given is None else constant(given, "the axes").reshape(-1).tolist()
    return sorted(int(axis) % rank for axis in axes)


def squeeze(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    old = _shape_of(inputs[0])
    axes = _axes(node, inputs, len(old)) or [i for i, n in enumerate(old) if n == 1]
    if any(old[axis] != 1 for axis in axes):
        raise UnsupportedError(f"it squeezes axes {axes} of shape {list(old)}")
    return _reshaped(inputs[0], [n for i, n in enumerate(old) if i not in axes])


def unsqueeze(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    shape = list(_shape_of(inputs[0]))
    given = node.ints("axes", []) if len(inputs) < 2 else constant(inputs[1], "the axes").reshape(-1).tolist()
    rank = len(shape) + len(given)
    for axis in sorted(int(axis) % rank for axis in given):
        shape.insert(axis, 1)
    return _reshaped(inputs[0], shape)


def transpose(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    rank = len(_shape_of(inputs[0]))
    order = node.ints("perm", list(range(rank))[::-1])
    if isinstance(inputs[0], QuantConst):
        return transposed_constant(inputs[0], order)
    return _renamed(inputs[0], lambda view: views.transpose(view, order), lambda array: array.transpose(order))


def pad(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    mode = node.attributes.get("mode", b"constant")
    if mode != b"constant":
        raise UnsupportedError(f"padding mode {mode!r} is not supported", "pad with a constant")
    pads = node.ints("pads", []) if len(inputs) < 2 else constant(inputs[1], "the padding").reshape(-1).tolist()
    value = node.float("value", 0.0)
    if len(inputs) > 2 and inputs[2] is not None:
        value = float(constant(inputs[2], "the padding's value").reshape(()))
    view, place = assembly.image(real_view(inputs[0]), "NCHW")
    if len(inputs) > 3 or len(pads) != 8 or min(pads) < 0 or pads[0] or pads[1] or pads[4] or pads[5]:
        raise UnsupportedError(f"padding {pads} is not one of height and width", "pad only height and width")
    if not any(pads):
        return Real(view)
    top, left = place.pair((int(pads[2]), int(pads[3])))
    bottom, right = place.pair((int(pads[6]), int(pads[7])))
    return Real(padded(assembly, node.name, view, (top, left), (bottom, right), value, "NCHW", place.swapped))


def padded(
    assembly: Assembly, name: str, view: View, before: tuple[int, int], after: tuple[int, int], value: float,
    layout: str, swapped: bool,
) -> View:  # fmt: skip
    """`view` padded with the real number `value`."""
    tensor = assembly.tensors[view.tensor]
    quantised = np.rint(value / tensor.scale) + tensor.zero_point
    if not -128 <= quantised <= 127:
        raise UnsupportedError(f"the value {value} lies outside the range of its input", "pad with zero")
    hwc = (view.hwc[0] + before[0] + after[0], view.hwc[1] + before[1] + after[1], view.hwc[2])
    out = assembly.emit(
        Pad, name, (tensor.name,), hwc, tensor.scale, tensor.zero_point, pad=before, value=int(quantised)
    )  # fmt: skip
    return image(hwc, layout, swapped).named(out)


def resize(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    """Nearest-neighbour enlargement by a whole factor, in whatever convention picks the same cells."""
    mode = node.attributes.get("mode", b"nearest")
    if mode != b"nearest":
        raise UnsupportedError(f"mode {mode!r} is not supported", "use nearest")
    view, place = assembly.image(real_view(inputs[0]), "NCHW")
    scales, sizes = _resize_scales(node, inputs), inputs[3] if len(inputs) > 3 else None
    if scales is None:
        wanted = constant(sizes, "the size").reshape(-1).astype(np.float64)
        scales = (wanted / np.array(view.shape)).tolist() if len(wanted) == len(view.shape) else []
    factor = round(scales[2]) if len(scales) == 4 else 0
    if factor < 1 or scales != [1, 1, factor, factor]:
        raise UnsupportedError(f"scales {scales} are not supported", "enlarge both directions by one whole number")
    for size in view.hwc[:2]:
        if not np.array_equal(_nearest(node, size, factor), np.arange(size * factor) // factor):
            raise UnsupportedError(
                "its rounding picks other cells", "use coordinate_transformation_mode asymmetric and floor"
            )
    if factor == 1:
        return Real(view)
    tensor = assembly.tensors[view.tensor]
    hwc = (view.hwc[0] * factor, view.hwc[1] * factor, view.hwc[2])
    name = assembly.emit(
        Upsample, node.name, (tensor.name,), hwc, tensor.scale, tensor.zero_point, factor=factor
    )  # fmt: skip
    return Real(image(hwc, "NCHW", place.swapped).named(name))


def _resize_scales(node: Node, inputs: Inputs) -> list[float] | None:
    at = 1 if node.op == "Upsample" or len(inputs) == 2 else 2
    value = inputs[at] if len(inputs) > at else None
    scales = constant(value, "the scale").reshape(-1).tolist() if value is not None else []
    scales = scales or [float(v) for v in node.attributes.get("scales", [])]
    return scales or None


def _nearest(node: Node, size: int, factor: int) -> NDArray[np.int64]:
    """Input cell of every output cell."""
    y = np.arange(min(size * factor, 1 << 16), dtype=np.float64)
    default = b"asymmetric" if node.op == "Upsample" else b"half_pixel"
    mode = node.attributes.get("coordinate_transformation_mode", default)
    x = {
        b"asymmetric": y / factor,
        b"half_pixel": (y + 0.5) / factor - 0.5,
        b"pytorch_half_pixel": (y + 0.5) / factor - 0.5 if size * factor > 1 else y * 0,
        b"align_corners": y * (size - 1) / max(size * factor - 1, 1),
    }.get(mode)
    if x is None:
        raise UnsupportedError(f"coordinate mode {mode!r} is not supported", "use asymmetric or half_pixel")
    rounding = node.attributes.get("nearest_mode", b"floor" if node.op == "Upsample" else b"round_prefer_floor")
    cells = {
        b"floor": np.floor(x), b"ceil": np.ceil(x),
        b"round_prefer_floor": np.ceil(x - 0.5), b"round_prefer_ceil": np.floor(x + 0.5),
    }.get(rounding)  # fmt: skip
    if cells is None:
        raise UnsupportedError(f"rounding {rounding!r} is not supported", "use floor")
    return np.clip(cells, 0, size - 1).astype(np.int64)


# --- constants of shapes ---------------------------------------------------------------------------------------------


def constant_node(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    from onnx import TensorProto, numpy_helper

    value = node.attributes.get("value")
    if isinstance(value, TensorProto):
        return Const(numpy_helper.to_array(value))
    for key in ("value_float", "value_int", "value_floats", "value_ints"):
        if key in node.attributes:
            return Const(np.asarray(node.attributes[key], np.float32 if "float" in key else np.int64))
    raise UnsupportedError("this kind of constant is not supported")


def shape_node(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    shape = np.array(_shape_of(inputs[0]), np.int64)
    return Const(shape[node.int("start", 0) : node.attributes.get("end", len(shape))])


def folded(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    """Gather, Slice and the like, on small constants only (they compute shapes)."""
    if not all(value is None or is_constant(value) for value in inputs) or not inputs:
        raise UnsupportedError(
            "this operator is only supported on constants",
            "end the model before it, or replace it by supported operators (docs/bring-your-own-model.md lists them)",
        )
    arrays = [None if value is None else constant(value, "an input") for value in inputs]
    if any(array is not None and array.size > MAX_FOLDED for array in arrays):
        raise UnsupportedError("it computes a constant that is too large", "export the model with constants folded")
    first = np.asarray(arrays[0])
    if node.op == "Gather":
        return Const(np.take(first, np.asarray(arrays[1]).astype(np.int64), axis=node.int("axis", 0)))
    if node.op == "Cast":
        return Const(first)
    starts, ends = (np.asarray(array).reshape(-1).tolist() for array in arrays[1:3])
    axes = (
        np.asarray(arrays[3]).reshape(-1).tolist() if len(arrays) > 3 and arrays[3] is not None else range(len(starts))
    )
    steps = (
        np.asarray(arrays[4]).reshape(-1).tolist() if len(arrays) > 4 and arrays[4] is not None else [1] * len(starts)
    )
    index = [slice(None)] * first.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[int(axis)] = slice(int(start), int(end), int(step))
    return Const(first[tuple(index)])


def cast(assembly: Assembly, node: Node, inputs: Inputs, opset: int) -> Value:
    from onnx import TensorProto

    if isinstance(inputs[0], (Real, Pending)) and node.int("to", 0) == TensorProto.FLOAT:
        return inputs[0]
    return folded(assembly, node, inputs, opset)


OPERATORS: dict[str, Convert] = {
    "Identity": passed, "Dropout": passed, "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Transpose": transpose, "Pad": pad, "Resize": resize, "Upsample": resize,
    "Constant": constant_node, "Shape": shape_node, "Gather": folded, "Slice": folded, "Cast": cast,
}  # fmt: skip
