"""ONNX pooling and means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic
from patchline.network.importers.assembly import (
    Assembly,
    WindowPair,
    check_range,
)
from patchline.network.importers.onnx_convolutions import window_of
from patchline.network.importers.onnx_values import (
    Convert,
    Inputs,
    Node,
    Pending,
    Real,
    Value,
    constant,
    real_view,
)
from patchline.network.importers.problems import OrderError, UnsupportedError
from patchline.network.importers.views import View, image
from patchline.network.ir import GlobalPool, Pool


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
    value = inputs[0]
    if isinstance(value, Pending) and value.averaged is not None:
        source, view = value.averaged, value.view
    else:
        source = view = real_view(value)
    given = inputs[1] if len(inputs) > 1 else None
    axes = node.ints("axes", []) if given is None else [int(v) for v in constant(given, "the axes").reshape(-1)]
    rank = len(view.dims)
    if not axes:
        raise UnsupportedError("it averages over everything", "average over height and width only")
    mean = _mean_over(assembly, node, source, view, {axis % rank for axis in axes}, bool(node.int("keepdims", 1)))
    return replace(mean, averaged=source)


def _mean_over(assembly: Assembly, node: Node, source: View, view: View, axes: set[int], keep: bool) -> Pending:
    """The mean of `source` along the axes that `view` of it has lost already, and along `axes` of `view`."""
    letters = {axis.letter for i in axes for axis in view.dims[i]}
    if "C" in letters or not all(view.dims[i] == view.whole(letter) for i in axes for letter in view.letters(i)):
        raise OrderError("it averages over channels or parts of an axis", "average over height and width only")
    height, width, channels = view.hwc
    hwc = (1 if "H" in letters else height, 1 if "W" in letters else width, channels)
    dims = [() if i in axes else dim for i, dim in enumerate(view.dims)]
    out = View("", hwc, tuple(dim for i, dim in enumerate(dims) if keep or i not in axes))
    if hwc[:2] == (1, 1):
        return _global_mean(assembly, node, source, out)
    kernel = (source.hwc[0] // hwc[0], source.hwc[1] // hwc[1])
    window = WindowPair(kernel, (1, 1), (0, 0), (hwc[0], hwc[1]))
    return _mean(assembly, node, source.tensor, window, np.arange(1, kernel[0] * kernel[1] + 1), out)


OPERATORS: dict[str, Convert] = {
    "MaxPool": max_pool, "GlobalMaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_average, "ReduceMean": reduce_mean,
}  # fmt: skip
