"""What an ONNX value can be while a QDQ graph is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.network.importers.assembly import Assembly, Function, check_quantisation
from patchline.network.importers.problems import AGAIN, QUANTISE, UnsupportedError
from patchline.network.importers.views import View

NOT_QUANTISED = "its result is used without a QuantizeLinear / DequantizeLinear pair"


@dataclass(frozen=True)
class Node:
    """An ONNX node with its attributes as plain Python values."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def ints(self, key: str, default: list[int]) -> list[int]:
        return [int(value) for value in self.attributes.get(key, default)]

    def int(self, key: str, default: int) -> int:
        return int(self.attributes.get(key, default))

    def float(self, key: str, default: float) -> float:
        return float(self.attributes.get(key, default))

    def text(self, key: str, default: str) -> str:
        value = self.attributes.get(key, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True, eq=False)
class Const:
    """A constant: an initialiser, or something computed from constants."""

    array: NDArray


@dataclass(frozen=True, eq=False)
class QuantConst:
    """A dequantised constant: real = (values - zero) * scale, along `axis` if there is more than one scale."""

    values: NDArray[np.int64]
    scale: NDArray[np.float64]
    zero: NDArray[np.int64]
    axis: int

    @property
    def centred(self) -> NDArray[np.int64]:
        return self.values - self._along(self.zero)

    @property
    def real(self) -> NDArray[np.float64]:
        return self.centred * self._along(self.scale)

    def _along(self, array: NDArray) -> NDArray:
        if array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if i == self.axis else 1 for i in range(self.values.ndim)])


@dataclass(frozen=True)
class Quant:
    """A quantised tensor: what QuantizeLinear gives. `unsigned`: the file stores it as uint8 (ours is 128 less)."""

    view: View
    unsigned: bool = False


@dataclass(frozen=True)
class Real:
    """A quantised tensor after DequantizeLinear."""

    view: View


@dataclass(frozen=True, eq=False)
class Pending:
    """A result that waits for the QuantizeLinear that gives it a scale.

    `emit(scale, zero_point, (low, high))` appends the operator. `function` is set for an elementwise function of the
    quantised tensor `source`, which further functions can join. `natural` is the scale and zero point to take where the
    graph ends without quantising (sigmoid, softmax). `scaled(gain, shift)` is gain * this + shift, per channel.
    `averaged` is what this is a plain mean of: a mean of it is a mean of that.
    """

    node: str
    view: View
    emit: Callable[[float, int, tuple[int, int]], str]
    low: float = -np.inf
    high: float = np.inf
    source: str = ""
    function: Function | None = None
    natural: tuple[float, int] | None = None
    scaled: Callable[[NDArray[np.float64], NDArray[np.float64]], Pending] | None = None
    averaged: View | None = None
    is_input: bool = False  # the model's float input
    guessed: bool = False  # stands for the result of a refused node

    def clamped(self, low: float, high: float) -> Pending:
        lower = min(max(self.low, low), high)
        return replace(self, low=lower, high=max(min(self.high, high), lower), natural=None, scaled=None, averaged=None)

    def quantised(self, scale: float, zero_point: int) -> View:
        """Emit the operator with this output quantisation."""
        check_quantisation(scale, zero_point)
        low, high = (_bound(value, scale, zero_point) for value in (self.low, self.high))
        try:
            return self.view.named(self.emit(scale, zero_point, (low, high)))
        except ValueError as error:
            refusal = UnsupportedError(f"it cannot be quantised so: {error}", AGAIN)
            refusal.node = self.node
            raise refusal from error
        except UnsupportedError as error:
            error.node = self.node
            raise


def _bound(real: float, scale: float, zero_point: int) -> int:
    """`real` on the int8 scale."""
    return int(np.clip(np.rint(np.float32(real) / np.float32(scale)) + zero_point, -128, 127))


Value = Const | QuantConst | Quant | Real | Pending
Inputs = list[Value | None]
Convert = Callable[[Assembly, Node, Inputs, int], Value]
"""Converts one node: (network so far, node, its inputs, opset version) -> its first output."""

FULL = (-128, 127)


def real_view(value: Value | None) -> View:
    """The view of an input that must be a quantised activation."""
    if isinstance(value, Real):
        return value.view
    if isinstance(value, Pending):
        raise UnsupportedError("its input is not quantised", QUANTISE)
    if isinstance(value, Quant):
        raise UnsupportedError("it works on int8 values directly", "export the model in QDQ format (QuantFormat.QDQ)")
    raise UnsupportedError("its input is a constant" if value is not None else "an input is missing")


def constant(value: Value | None, what: str) -> NDArray:
    """The real values of an input that must be a constant."""
    if isinstance(value, Const):
        return value.array
    if isinstance(value, QuantConst):
        return value.real
    raise UnsupportedError(f"{what} is not a constant", f"export the model with {what} fixed")


def is_constant(value: Value | None) -> bool:
    return isinstance(value, (Const, QuantConst))
