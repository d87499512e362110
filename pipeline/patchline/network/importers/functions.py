"""Elementwise functions of real numbers, for tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from patchline.network.importers.assembly import Function
from patchline.network.importers.problems import UnsupportedError

if TYPE_CHECKING:
    from patchline.network.importers.onnx_values import Node

Reals = NDArray[np.float32]


def sigmoid(x: Reals) -> Reals:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


def leaky_relu(slope: float) -> Function:
    return lambda x: np.where(x >= 0, x, x * np.float32(slope))


def hard_sigmoid(slope: float, offset: float) -> Function:
    return lambda x: np.clip(x * np.float32(slope) + np.float32(offset), 0, 1)


def elu(alpha: float) -> Function:
    return lambda x: np.where(x >= 0, x, np.float32(alpha) * np.expm1(np.minimum(x, 0)))


def softplus(x: Reals) -> Reals:
    return np.logaddexp(np.float32(0), x)


def gelu(approximate: str) -> Function:
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"its approximation '{approximate}' is not known", "use none or tanh")
    return _gelu if approximate == "none" else _gelu_tanh


def _gelu_tanh(x: Reals) -> Reals:
    y = x.astype(np.float64)
    return (0.5 * y * (1 + np.tanh((2 / np.pi) ** 0.5 * (y + 0.044715 * y**3)))).astype(np.float32)


def _gelu(x: Reals) -> Reals:
    from math import erf

    return np.array([v * 0.5 * (1 + erf(v / 2**0.5)) for v in x.tolist()], dtype=np.float32)


ONNX: dict[str, Callable[[Node], Function]] = {
    "Sigmoid": lambda node: sigmoid,
    "Tanh": lambda node: np.tanh,
    "HardSigmoid": lambda node: hard_sigmoid(node.float("alpha", 0.2), node.float("beta", 0.5)),
    "HardSwish": lambda node: lambda x: x * hard_sigmoid(1 / 6, 0.5)(x),
    "LeakyRelu": lambda node: leaky_relu(node.float("alpha", 0.01)),
    "Elu": lambda node: elu(node.float("alpha", 1.0)),
    "Softplus": lambda node: softplus,
    "Softsign": lambda node: lambda x: x / (1 + np.abs(x)),
    "Mish": lambda node: lambda x: x * np.tanh(softplus(x)),
    "Gelu": lambda node: gelu(node.text("approximate", "none")),
    "Exp": lambda node: np.exp,
    "Abs": lambda node: np.abs,
    "Neg": lambda node: np.negative,
    "Sqrt": lambda node: np.sqrt,
}
"""Operators that become a table, by name."""

NATURAL = {"Sigmoid": (1 / 256, -128), "HardSigmoid": (1 / 256, -128), "Tanh": (1 / 128, 0)}
"""Scale and zero point to take where the graph ends with a function of known range and does not quantise it."""


def of_onnx(node: Node) -> Function:
    return ONNX[node.op](node)
