"""What a TFLite import knows while it runs, and how it reads the operands and options of an operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from patchline.network.importers import tflite_tables
from patchline.network.importers.assembly import (
    Assembly,
    WindowPair,
)
from patchline.network.importers.problems import UnsupportedError
from patchline.network.importers.tflite_file import FileOp, FileTensor
from patchline.network.importers.views import View

LAYOUT = "NHWC"
INTEGER = "convert the whole model with full integer quantisation"


@dataclass(frozen=True)
class Value:
    """A tensor of the file: how it lies in the network's tensor, and the type it has in the file."""

    view: View
    type: str


class State:
    """The network so far, the values of the file's tensors by index, and the tensors of which nothing is known because
    an operator before them was refused."""

    def __init__(self, name: str) -> None:
        self.assembly = Assembly(name)
        self.values: dict[int, Value] = {}
        self.unknown: set[int] = set()

    def any_view(self, op: FileOp, at: int) -> View:
        """The view of input `at`, whatever its type."""
        tensor = input_of(op, at)
        value = self.values.get(tensor.index)
        if value is None:
            if tensor.data is not None:
                raise UnsupportedError(f"its input '{tensor.name}' is a constant of type {tensor.type}", INTEGER)
            raise UnsupportedError(f"it reads '{tensor.name}' before anything produces it", "convert the model again")
        return value.view

    def view(self, op: FileOp, at: int) -> View:
        """The view of input `at`, which must be int8."""
        view, tensor = self.any_view(op, at), input_of(op, at)
        if tensor.type != "INT8" or not view.tensor:
            raise UnsupportedError(f"its input '{tensor.name}' is {tensor.type}, not int8", INTEGER)
        return view

    def is_constant(self, op: FileOp, at: int) -> bool:
        tensor = input_of(op, at)
        return tensor.index not in self.values and tensor.data is not None


Convert = Callable[[State, FileOp], Value]


def input_of(op: FileOp, at: int) -> FileTensor:
    tensor = op.inputs[at] if at < len(op.inputs) else None
    if tensor is None:
        raise UnsupportedError(f"input {at} is missing")
    return tensor


def output_of(op: FileOp) -> FileTensor:
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
