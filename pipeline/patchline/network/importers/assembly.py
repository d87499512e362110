"""Puts a network together operator by operator; what the importers of both formats share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.network import arithmetic, fixedpoint, validate
from patchline.network.importers.problems import AGAIN, OrderError, UnsupportedError
from patchline.network.importers.views import Spatial, View, image, spatial
from patchline.network.ir import Conv, Depthwise, Int8Array, Network, Op, Requant, Softmax, Tensor

MAX_TENSOR_BYTES = 1 << 28
MAX_NAME = 40

SOFTMAX_OUTPUT = (1 / 256, -128)

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Assembly:
    """A growing network. Tensors are int8; scale and zero point are checked when they enter."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.input = ""
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.guessed: set[str] = set()
        self._names: set[str] = set()

    def finish(self, outputs: tuple[str, ...]) -> Network:
        return Network(self.name, self.input, outputs, dict(self.tensors), tuple(self.ops))

    def add_input(self, name: str, hwc: tuple[int, int, int], scale: float, zero_point: int) -> str:
        self.input = self._tensor(name, hwc, scale, zero_point)
        return self.input

    def emit(
        self, kind: type[Op], name: str, inputs: tuple[str, ...], hwc: tuple[int, int, int], scale: float,
        zero_point: int, /, **fields: Any,
    ) -> str:  # fmt: skip
        """Append an operator of type `kind`; returns the name of its output tensor."""
        output = self._tensor(name, hwc, scale, zero_point)
        self.ops.append(kind(output, inputs, output, **fields))
        return output

    def guess(self, name: str, hwc: tuple[int, int, int], scale: float, zero_point: int) -> str:
        """A tensor in the place of one that a refused node would make, so that the nodes behind it can be checked."""
        tensor = self._tensor(name, hwc, scale, zero_point)
        self.guessed.add(tensor)
        return tensor

    def scale_of(self, tensor: str) -> float:
        return self.tensors[tensor].scale

    def zero_of(self, tensor: str) -> int:
        return self.tensors[tensor].zero_point

    def image(self, view: View, layout: str) -> tuple[View, Spatial]:
        """`view` as an image in `layout`. The network's input may still change its shape, as long as nobody reads it:
        a model that reshapes its flat input to an image thereby gets the image as input."""
        try:
            return view, spatial(view, layout)
        except UnsupportedError:
            unread = not any(self.input in op.inputs for op in self.ops)
            if view.tensor != self.input or not unread or len(view.dims) != len(layout):
                raise
            height, width, channels = (view.shape[layout.index(letter)] for letter in "HWC")
            new = image((height, width, channels), layout).named(self.input)
            if not (view.in_order and new.in_order):
                raise
            old = self.tensors[self.input]
            self.tensors[self.input] = Tensor(old.name, height, width, channels, old.scale, old.zero_point)
            return new, spatial(new, layout)

    def _tensor(self, name: str, hwc: tuple[int, int, int], scale: float, zero_point: int) -> str:
        check_quantisation(scale, zero_point)
        if min(hwc) < 1:
            raise UnsupportedError(f"gives an empty tensor {list(hwc)} (height, width, channels)")
        if hwc[0] * hwc[1] * hwc[2] > MAX_TENSOR_BYTES:
            raise UnsupportedError(f"gives a tensor of {hwc[0]} x {hwc[1]} x {hwc[2]}: no microcontroller holds it")
        unique = self._unique(name)
        self.tensors[unique] = Tensor(unique, *hwc, float(scale), int(zero_point))
        return unique

    def _unique(self, name: str) -> str:
        """A short identifier made from `name`, used once."""
        clean = cleaned(name)
        unique, count = clean, 1
        while unique in self._names:
            count += 1
            unique = f"{clean}_{count}"
        self._names.add(unique)
        return unique


def cleaned(name: str) -> str:
    """`name` as a short identifier."""
    # TFLite joins the names of fused operators with semicolons; the first one is the operator's own
    first = name.split(";")[0]
    return re.sub(r"[^A-Za-z0-9]+", "_", first).strip("_")[-MAX_NAME:].strip("_") or "t"


def check_quantisation(scale: float, zero_point: int) -> None:
    """Raise UnsupportedError for a scale or zero point that no int8 tensor can have."""
    if not np.isfinite(scale) or not 1e-30 < scale < 1e30:
        raise UnsupportedError(f"has the scale {scale}", AGAIN)
    if not -128 <= zero_point <= 127:
        raise UnsupportedError(f"has the zero point {zero_point} outside int8", AGAIN)


def table_of(function: Function, scale: float, zero: int, out_scale: float, out_zero: int) -> Int8Array:
    """Table of a real function between two quantisations, in float32 and rounded half to even as onnxruntime does."""
    with np.errstate(all="ignore"):
        x = (np.arange(-128, 128) - zero).astype(np.float32) * np.float32(scale)
        y = np.rint(function(x).astype(np.float32) / np.float32(out_scale)) + out_zero
    return np.clip(np.nan_to_num(y, nan=out_zero), -128, 127).astype(np.int8)


def covering(view: View, dim: int) -> bool:
    """Whether dimension `dim` runs over every axis of the tensor, in whatever order (a flattened image)."""
    return sum(len(d) for i, d in enumerate(view.dims) if i != dim) == 0


def dense_weights(view: View, dim: int, matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fully connected layer's matrix [out, in] over dimension `dim` of `view` as [out, H, W, C] weights.

    The inputs of the matrix follow the order of the view's axes; here they are brought to the order in memory.
    """
    axes = view.dims[dim]
    shaped = matrix.reshape(len(matrix), *(axis.size for axis in axes))
    order = sorted(range(len(axes)), key=lambda i: ("HWC".index(axes[i].letter), -axes[i].step))
    return np.ascontiguousarray(shaped.transpose(0, *(i + 1 for i in order)).reshape(len(matrix), *view.hwc))


def output_of(view: View) -> str:
    """The tensor that an output of the model is. Its values come in (height, width, channel) order; a permutation of
    whole axes is the reader's to undo, but an order that no shape expresses is refused."""
    plain = all(not dim or any(dim == view.whole(letter) for letter in "HWC") for dim in view.dims)
    if not (view.in_order or plain):
        raise OrderError(
            "it is reshaped so that its values would come in another order than (height, width, channel)",
            "end the model before that reshape and do it in the application",
        )
    return view.tensor


def check_range(largest: NDArray[np.float64] | float, requant: Requant) -> None:
    """Raise UnsupportedError if accumulators up to `largest` in magnitude (one number, or one per channel) could leave
    int32, left shift included."""
    if np.any(largest * 2.0 ** np.maximum(requant.shifts, 0) >= 2.0**31):
        raise UnsupportedError(
            "its sums could overflow 32 bits (too many inputs, or an output scale far too small for its weights)",
            AGAIN,
        )


def emit_convolution(
    assembly: Assembly, name: str, source: str, weights: NDArray[np.int64], bias: NDArray[np.int64], requant: Requant,
    window: WindowPair, scale: float, zero_point: int, clamp: tuple[int, int],
) -> str:  # fmt: skip
    """Append a convolution. `weights` are [out, kernel_h, kernel_w, in]; depthwise: [kernel_h, kernel_w, channels]."""
    depthwise = weights.ndim == 3
    if weights.min(initial=0) < -128 or weights.max(initial=0) > 127:
        raise UnsupportedError(
            "its weights minus their zero point do not fit int8", "quantise weights symmetrically (QInt8)"
        )
    if bias.min(initial=0) < -(2**31) or bias.max(initial=0) >= 2**31:
        raise UnsupportedError("its bias does not fit 32 bits", AGAIN)
    by_channel = weights.transpose(2, 0, 1) if depthwise else weights
    check_range(arithmetic.largest_sum(by_channel, bias, assembly.zero_of(source)).astype(np.float64), requant)
    return assembly.emit(
        Depthwise if depthwise else Conv, name, (source,), (*window.out, len(by_channel)), scale, zero_point,
        weights=np.ascontiguousarray(weights.astype(np.int8)), bias=bias.astype(np.int32), requant=requant,
        stride=window.stride, pad=window.pad, clamp=clamp,
    )  # fmt: skip


def emit_softmax(assembly: Assembly, name: str, source: str, beta: float = 1.0) -> str:
    """Append a softmax over the channels of `source`; its output has SOFTMAX_OUTPUT's scale and zero point."""
    tensor = assembly.tensors[source]
    if tensor.channels > fixedpoint.SOFTMAX_MAX_CHANNELS:
        raise UnsupportedError(
            validate.softmax_limit(tensor.channels), "end the model before it; the largest value is the same there"
        )
    table = fixedpoint.softmax_exp_table(tensor.scale, beta)
    return assembly.emit(Softmax, name, (source,), tensor.shape, *SOFTMAX_OUTPUT, exp_table=table)


@dataclass(frozen=True)
class WindowPair:
    """Windows in both directions (vertical, horizontal): kernel, stride, padding before, and the output's size."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.out) < 1 or min(self.pad) < 0:
            raise UnsupportedError(
                f"has kernel {self.kernel}, stride {self.stride}, padding {self.pad}, output {self.out}"
            )
        if any(p >= k for p, k in zip(self.pad, self.kernel, strict=True)):
            raise UnsupportedError(f"its padding {self.pad} is not smaller than its kernel {self.kernel}")

    @property
    def whole(self) -> bool:
        """One window without padding at the start."""
        return self.out == (1, 1) and self.pad == (0, 0)

    def reaches(self, size: tuple[int, int]) -> bool:
        """Whether the last windows extend over the end of a map of this size (padding after it)."""
        ends = ((o - 1) * s - p + k for o, s, p, k in zip(self.out, self.stride, self.pad, self.kernel, strict=True))
        return any(end > n for end, n in zip(ends, size, strict=True))
