"""TFLite pooling, means, padding, enlargement, and operators that only rename dimensions."""

from __future__ import annotations

import numpy as np

from patchline.network import arithmetic
from patchline.network.importers import views
from patchline.network.importers.assembly import (
    check_range,
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
from patchline.network.ir import GlobalPool, Pad, Pool, Requant, Upsample


def pool(state: State, op: FileOp) -> Value:
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    out = output_of(op)
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
    view, out = state.view(op, 0), output_of(op)
    axes = {int(axis) % len(view.dims) for axis in input_of(op, 1).array.reshape(-1)}
    letters = {axis.letter for i in axes for axis in view.dims[i]}
    if "C" in letters or not all(view.dims[i] == view.whole(letter) for i in axes for letter in view.letters(i)):
        raise OrderError("it averages over channels or parts of an axis", "average over height and width only")
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


def reshape(state: State, op: FileOp) -> Value:
    """RESHAPE, SQUEEZE and EXPAND_DIMS: the output's shape in the file says it all."""
    return Value(views.reshape(state.any_view(op, 0), list(op.outputs[0].shape)), input_of(op, 0).type)


def transpose(state: State, op: FileOp) -> Value:
    order = [int(i) for i in input_of(op, 1).array.reshape(-1)]
    return Value(views.transpose(state.any_view(op, 0), order), input_of(op, 0).type)


def pad(state: State, op: FileOp) -> Value:
    view, place = state.assembly.image(state.view(op, 0), LAYOUT)
    pads, out = input_of(op, 1).array.astype(np.int64), output_of(op)
    if pads.shape != (4, 2) or pads.min() < 0 or pads.max() > 4096 or pads[0].any() or pads[place.channel].any():
        raise UnsupportedError(f"padding {pads.tolist()} is not one of height and width", "pad only height and width")
    tensor = state.assembly.tensors[view.tensor]
    if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
        raise UnsupportedError("its output has another scale than its input", INTEGER)
    value = int(input_of(op, 2).array.reshape(())) if op.op == "PADV2" else out.zero
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
    out = output_of(op)
    tensor = state.assembly.tensors[view.tensor]
    if (tensor.scale, tensor.zero_point) != (out.scale, out.zero):
        raise UnsupportedError("its output has another scale than its input", INTEGER)
    size = input_of(op, 1).array.reshape(2)
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
    "AVERAGE_POOL_2D": pool, "MAX_POOL_2D": pool, "MEAN": mean, "RESHAPE": reshape, "SQUEEZE": reshape,
    "EXPAND_DIMS": reshape, "TRANSPOSE": transpose, "PAD": pad, "PADV2": pad, "RESIZE_NEAREST_NEIGHBOR": resize,
}  # fmt: skip
