"""Checks that a `Network` is consistent: shapes, types and ranges of every operator (for networks from files)."""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from patchline.network.fixedpoint import SOFTMAX_MAX_CHANNELS
from patchline.network.ir import (
    Add,
    Concat,
    Conv,
    Depthwise,
    GlobalPool,
    Lookup,
    Mul,
    Network,
    NetworkError,
    Op,
    Pad,
    Pool,
    Requant,
    Resize,
    Softmax,
    Tensor,
    Upsample,
)

MAX_TENSOR_BYTES = 1 << 28
"""Far beyond any microcontroller; a larger tensor is a mistake and would only exhaust this machine's memory."""


def check(network: Network) -> None:
    """Raise NetworkError naming the first tensor or operator that breaks a rule of `ir`."""
    for name, tensor in network.tensors.items():
        _check_tensor(name, tensor)
    for op in network.ops:
        _check_op(op, [network.tensors[name] for name in op.inputs], network.tensors[op.output])


def _check_tensor(name: str, tensor: Tensor) -> None:
    _require(all(isinstance(n, int) and n >= 1 for n in tensor.shape), name, f"has the shape {tensor.shape}")
    _require(tensor.bytes <= MAX_TENSOR_BYTES, name, f"has {tensor.bytes} bytes, more than {MAX_TENSOR_BYTES}")
    _require(np.isfinite(tensor.scale) and tensor.scale > 0, name, f"has the scale {tensor.scale}")
    _require(-128 <= tensor.zero_point <= 127, name, f"has the zero point {tensor.zero_point}")


def _check_op(op: Op, inputs: list[Tensor], output: Tensor) -> None:
    source = inputs[0]
    match op:
        case Conv(weights=weights):
            _array(op, weights, np.int8, 4)
            _require(weights.shape[3] == source.channels, op.name, "reads another number of channels than it is given")
            _check_window(op, weights.shape[1:3], op.stride, op.pad, source, output)
            _same(op, output.channels, weights.shape[0], "output channels")
            _check_sum(op, op.bias, op.requant, output.channels)
        case Depthwise(weights=weights):
            _array(op, weights, np.int8, 3)
            _require(weights.shape[2] == source.channels, op.name, "reads another number of channels than it is given")
            _check_window(op, weights.shape[:2], op.stride, op.pad, source, output)
            _same(op, output.channels, source.channels, "output channels")
            _check_sum(op, op.bias, op.requant, output.channels)
        case Add():
            _same(op, [t.shape for t in (*inputs, output)], [source.shape] * 3, "shapes")
            _require(len(op.multipliers) == (2 if op.rule == "single" else 3), op.name, "has the wrong constants")
            _require(len(op.shifts) == (1 if op.rule == "single" else 3), op.name, "has the wrong constants")
        case Mul():
            gate = (1, 1, source.channels)
            _require(inputs[1].shape in (source.shape, gate), op.name, "multiplies tensors of different shapes")
            _same(op, output.shape, source.shape, "shapes")
            _check_requant(op, op.requant, 1)
        case Pool():
            _check_window(op, op.kernel, op.stride, op.pad, source, output)
            _same(op, output.channels, source.channels, "output channels")
            if op.requant is not None:
                _check_requant(op, op.requant, prod(op.kernel))
        case GlobalPool():
            _same(op, output.shape, (1, 1, source.channels), "shapes")
            if op.requant is not None:
                _check_requant(op, op.requant, 1)
        case Lookup():
            _table(op, op.table)
            _same(op, output.shape, source.shape, "shapes")
        case Concat():
            _same(op, {t.shape[:2] for t in inputs}, {output.shape[:2]}, "heights and widths")
            _same(op, output.channels, sum(t.channels for t in inputs), "output channels")
            _same(op, len(op.tables), len(inputs), "tables")
            for table in op.tables:
                if table is not None:
                    _table(op, table)
        case Upsample():
            _require(op.factor >= 1, op.name, f"has the factor {op.factor}")
            size = (source.height * op.factor, source.width * op.factor, source.channels)
            _same(op, output.shape, size, "shapes")
        case Resize():
            _require(min(op.stride, op.up) >= 1, op.name, f"has the ratio {op.stride}:{op.up}")
            _require(gcd(op.stride, op.up) == 1, op.name, f"has the ratio {op.stride}:{op.up}, not in lowest terms")
            scaled = [(n * op.stride) for n in output.shape[:2]], output.channels
            _same(op, scaled, ([n * op.up for n in source.shape[:2]], source.channels), "sizes times its ratio")
            quantisation = (output.scale, output.zero_point)
            _same(op, quantisation, (source.scale, source.zero_point), "scale and zero point")
        case Pad():
            fits = all(p >= 0 and o >= p + i for p, o, i in zip(op.pad, output.shape, source.shape, strict=False))
            _require(fits and -128 <= op.value <= 127, op.name, "pads by less than nothing or with a value beyond int8")
            _same(op, output.channels, source.channels, "output channels")
        case Softmax():
            _require(op.exp_table.shape == (256,) and op.exp_table.dtype == np.int32, op.name, "has a wrong table")
            _same(op, output.shape, source.shape, "shapes")
            _require(source.channels <= SOFTMAX_MAX_CHANNELS, op.name, softmax_limit(source.channels))
        case _:
            raise NetworkError(f"{op.name}: unknown operator {type(op).__name__}")


def softmax_limit(channels: int) -> str:
    """Why a Softmax over more than SOFTMAX_MAX_CHANNELS channels is refused."""
    return f"is a softmax over {channels} channels; above {SOFTMAX_MAX_CHANNELS} its sum can leave 32 bits"


def _check_window(
    op: Op, kernel: tuple[int, ...], stride: tuple[int, int], pad: tuple[int, int], source: Tensor, output: Tensor
) -> None:
    """Every window touches the map, and padding stays smaller than the kernel."""
    for k, s, p, size, out in zip(kernel, stride, pad, source.shape, output.shape, strict=False):
        _require(k >= 1 and s >= 1 and 0 <= p < k, op.name, f"has kernel {k}, stride {s}, padding {p}")
        last = (out - 1) * s - p
        _require(last < size, op.name, f"has windows beyond its input ({out} outputs from {size} inputs)")


def _check_sum(op: Op, bias: np.ndarray, requant: Requant, channels: int) -> None:
    _array(op, bias, np.int32, 1)
    _same(op, len(bias), channels, "biases")
    _check_requant(op, requant, channels)


def _check_requant(op: Op, requant: Requant, entries: int) -> None:
    for array in (requant.multipliers, requant.shifts):
        _array(op, array, np.int32, 1)
        _require(len(array) in (1, entries), op.name, f"has {len(array)} requantisation constants, not {entries}")
    _require(len(requant.multipliers) == len(requant.shifts), op.name, "has unequal requantisation constants")
    low, high = (0, 31) if requant.rule == "single" else (-31, 30)
    _require(requant.rule in ("single", "tflite", "tflite_once"), op.name, f"has the rule {requant.rule}")
    _require(bool(np.all((requant.shifts >= low) & (requant.shifts <= high))), op.name, "has shifts out of range")
    positive = bool(np.all(requant.multipliers >= 0))
    _require(positive or requant.rule != "single", op.name, "has negative multipliers")


def _table(op: Op, table: np.ndarray) -> None:
    _array(op, table, np.int8, 1)
    _same(op, len(table), 256, "table entries")


def _array(op: Op, array: np.ndarray, dtype: type, dimensions: int) -> None:
    right = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == dimensions and array.size > 0
    _require(right, op.name, f"has an array that is not {dimensions}-dimensional {dtype.__name__}")


def _same(op: Op, found: object, expected: object, what: str) -> None:
    _require(found == expected, op.name, f"has {what} {found}, expected {expected}")


def _require(holds: bool | np.bool_, name: str, problem: str) -> None:
    if not holds:
        raise NetworkError(f"{name}: {problem}")
