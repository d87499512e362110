"""Lowering: each operator of the network becomes a kernel name and the constants that the kernel takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline.cores.armv7em import layout
from patchline.cores.armv7em.kernels import KernelChoice, choose, requant_rule
from patchline.errors import UserError
from patchline.network import filters
from patchline.network.arithmetic import largest_sum
from patchline.network.ir import (
    Add,
    Concat,
    Conv,
    Depthwise,
    GlobalPool,
    Int8Array,
    Lookup,
    Mul,
    Network,
    Op,
    Pad,
    Pool,
    Requant,
    Resize,
    Softmax,
    Tensor,
    Upsample,
)


@dataclass(frozen=True, eq=False)
class Array:
    """A constant C array; `values` is one-dimensional, or [n, fields] for an array of structs."""

    ctype: str
    values: NDArray[Any]

    @property
    def bytes(self) -> int:
        """Bytes on the device (structs of the kernels have no padding inside an array)."""
        return self.values.size * {"int8_t": 1, "int16_t": 2, "int32_t": 4, "pl_scale": 4}[self.ctype]


@dataclass(frozen=True, eq=False)
class Lowered:
    """An operator as the firmware sees it.

    `fields` are the members of `struct`; a str is a C expression, an `Array` a pointer to it, a dict a nested struct
    and a list of dicts a pointer to an array of structs (of the type that its key "struct" names).
    """

    kernel: str
    struct: str
    fields: dict[str, Any]
    arrays: tuple[Array, ...] = field(default=())

    @property
    def weights_bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)


RULES = ("single", "tflite", "tflite_once")  # as in struct pl_requant
BY_RULE = "PL_BY_RULE"
FAST = {"single": "PL_SINGLE", "mostly_single": "PL_MOSTLY_SINGLE", "tflite": "PL_TFLITE"}  # by `requant_rule`

Lowering = Callable[[Any, list[Tensor], Tensor, KernelChoice], Lowered]


def lower(network: Network, op: Op) -> Lowered:
    """The kernel and constants of `op`. Raises UserError where the firmware cannot hold a value."""
    lowering = _LOWERINGS.get(type(op))
    if lowering is None:
        raise UserError(f"operator '{op.name}' ({type(op).__name__}) has no kernel; see docs/adding-an-operator.md")
    return lowering(op, [network.tensors[name] for name in op.inputs], network.tensors[op.output], choose(network, op))


def _requant(
    requant: Requant | None,
    clamp: tuple[int, int],
    output: Tensor,
    entries: int,
    bias: NDArray[np.int64] | None = None,
    bound: int = 2**31,
    short: str | None = None,
) -> tuple[dict[str, Any], tuple[Array, ...]]:
    """Struct pl_requant: (fields, arrays). Entries with a bias are padded to an even number (channel pairs).

    `bound`: no accumulator is larger, whatever the input. `short` is the kernel's rule of a convolution."""
    fields: dict[str, Any] = {"low": clamp[0], "high": clamp[1], "zero": output.zero_point}
    if requant is None:
        return {**fields, "scale": "NULL", "shifts": "NULL", "tflite": 1, "fast": BY_RULE}, ()
    shifts = np.broadcast_to(requant.shifts, entries)
    single = requant.rule == "single"
    shifted = not single or bool(np.any(shifts))
    even = layout.round_up(entries, 2) if bias is not None else entries
    scale = np.zeros((even, 2), np.int32)
    scale[:entries, 0] = 0 if bias is None else bias
    scale[:entries, 1] = np.broadcast_to(requant.multipliers, entries)
    arrays = [Array("pl_scale", scale)]
    if shifted:
        arrays.append(Array("int8_t", np.pad(shifts, (0, even - entries)).astype(np.int8)))
    rule = RULES.index(requant.rule)
    fast = _fast(short or requant_rule(requant, clamp), bound)
    fields |= {"scale": arrays[0], "shifts": arrays[1] if shifted else "NULL", "tflite": rule, "fast": fast}
    return fields, tuple(arrays)


def _fast(rule: str, bound: int) -> str:
    """The short way to requantise that gives the rule's result for every accumulator up to `bound` (kernels.h)."""
    return FAST.get(rule, BY_RULE) if rule != "tflite" or bound < 2**30 else BY_RULE


def _summing(
    op: Conv | Depthwise, per_channel: NDArray[np.int64], source: Tensor, output: Tensor, kernel: KernelChoice
) -> tuple[dict[str, Any], tuple[Array, ...]]:
    """Requantisation with the input's zero point folded into the bias. `per_channel`: weights [channels, products]."""
    bound = int(largest_sum(per_channel, op.bias.astype(np.int64), source.zero_point).max())
    if bound >= 2**31:
        raise UserError(
            f"operator '{op.name}': its weights and bias can take a sum out of 32 bits; the model's quantisation is "
            "broken or its bias far too large: quantise it again"
        )
    bias = _fold_zero_point(op.bias, per_channel, source.zero_point)
    return _requant(op.requant, op.clamp, output, len(bias), bias, bound, kernel.rule)


def _fold_zero_point(bias: NDArray[np.int32], weights: NDArray[np.int64], input_zero: int) -> NDArray[np.int64]:
    """The bias with which sum(w * x) needs no zero point: bias - z_x * sum(w). `weights` is [channels, products]."""
    return bias.astype(np.int64) - input_zero * weights.sum(axis=1)


def _conv(op: Conv, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    channels_out, kernel_h, kernel_w, channels_in = op.weights.shape
    requant, arrays = _summing(op, op.weights.astype(np.int64).reshape(channels_out, -1), inputs[0], output, kernel)
    weights = Array("int8_t", layout.conv_weights(op.weights, kernel.order))
    fields = {
        "weights": weights, "requant": requant, "channels_in": channels_in, "channels_out": channels_out,
        "kernel_h": kernel_h, "kernel_w": kernel_w, "stride": op.stride[1], "order": f"PL_{kernel.order.upper()}",
        "input_zero": inputs[0].zero_point,
    }  # fmt: skip
    return Lowered(kernel.function, "pl_conv", fields, (weights, *arrays))


def _depthwise(op: Depthwise, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    kernel_h, kernel_w, channels = op.weights.shape
    requant, arrays = _summing(op, op.weights.astype(np.int64).reshape(-1, channels).T, inputs[0], output, kernel)
    weights = Array("int8_t", layout.depthwise_weights(op.weights, kernel.order))
    fields = {
        "weights": weights, "requant": requant, "channels": channels, "kernel_h": kernel_h, "kernel_w": kernel_w,
        "stride": op.stride[1], "input_zero": inputs[0].zero_point,
    }  # fmt: skip
    return Lowered(kernel.function, "pl_depthwise", fields, (weights, *arrays))


def _add(op: Add, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    fields: dict[str, Any] = {
        "multipliers": _list(op.multipliers), "channels": output.channels, "low": op.clamp[0], "high": op.clamp[1],
    }  # fmt: skip
    if op.rule == "single":
        return Lowered(kernel.function, "pl_add", {**fields, "offset": op.offset, "shift": op.shifts[0]})
    zeros = _list(t.zero_point for t in (*inputs, output))
    return Lowered(kernel.function, "pl_add_tflite", {**fields, "shifts": _list(op.shifts), "zeros": zeros})


def _mul(op: Mul, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    requant, arrays = _requant(op.requant, op.clamp, output, 1)
    gate = inputs[1].shape[:2] == (1, 1)
    zeros = _list(t.zero_point for t in inputs)
    fields = {"requant": requant, "channels": output.channels, "zeros": zeros, "gate": gate}
    return Lowered(kernel.function, "pl_mul", fields, arrays)


def _pool(op: Pool, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    average = op.kind == "average"
    requant, arrays = _requant(op.requant if average else None, op.clamp, output, op.kernel[0] * op.kernel[1])
    fields = {
        "requant": requant, "channels": output.channels, "kernel_h": op.kernel[0], "kernel_w": op.kernel[1],
        "stride": op.stride[1], "input_zero": inputs[0].zero_point,
    }  # fmt: skip
    return Lowered(kernel.function, "pl_pool", fields, arrays)


def _global_pool(op: GlobalPool, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    requant, arrays = _requant(op.requant, op.clamp, output, 1)
    cells = inputs[0].height * inputs[0].width
    # `rows` and `columns`, what each tile reads, come with the plan
    fields = {"requant": requant, "channels": output.channels, "cells": cells, "offset": -cells * inputs[0].zero_point}
    return Lowered(kernel.function, "pl_global_pool", fields, arrays)


def _lookup(op: Lookup, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    table = _table(op.table)
    return Lowered(kernel.function, "pl_lookup", {"table": table, "channels": output.channels}, (table,))


def _concat(op: Concat, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    tables = [None if table is None else _table(table) for table in op.tables]
    parts = [
        {"struct": "pl_concat_input", "table": table or "NULL", "channels": tensor.channels}
        for table, tensor in zip(tables, inputs, strict=True)
    ]
    fields = {"inputs": parts, "count": len(parts), "channels": output.channels}
    return Lowered(kernel.function, "pl_concat", fields, tuple(t for t in tables if t is not None))


def _upsample(op: Upsample, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    return Lowered(kernel.function, "pl_upsample", {"channels": output.channels, "factor": op.factor})


def _resize(op: Resize, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    weights = filters.taps(op.stride, op.up)[1]
    array = Array("int16_t", weights.astype(np.int16).reshape(-1))
    fields = {
        "weights": array, "channels": output.channels, "kernel": weights.shape[1], "stride": op.stride, "up": op.up
    }  # fmt: skip
    return Lowered(kernel.function, "pl_resize", fields, (array,))


def _pad(op: Pad, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    return Lowered(kernel.function, "pl_pad", {"channels": output.channels, "value": op.value})


def _softmax(op: Softmax, inputs: list[Tensor], output: Tensor, kernel: KernelChoice) -> Lowered:
    table = Array("int32_t", op.exp_table)
    return Lowered(kernel.function, "pl_softmax", {"exp": table, "channels": output.channels}, (table,))


def _table(values: Int8Array) -> Array:
    return Array("int8_t", values)


def _list(values: Any) -> str:
    return "{" + ", ".join(str(int(v)) for v in values) + "}"


_LOWERINGS: dict[type[Op], Lowering] = {
    Conv: _conv,
    Depthwise: _depthwise,
    Add: _add,
    Mul: _mul,
    Pool: _pool,
    GlobalPool: _global_pool,
    Lookup: _lookup,
    Concat: _concat,
    Upsample: _upsample,
    Resize: _resize,
    Pad: _pad,
    Softmax: _softmax,
}
