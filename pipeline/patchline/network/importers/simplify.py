"""Exact simplifications of an imported network: nothing here changes a single output bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from patchline.network.ir import (
    Add,
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
    Tensor,
)

CLAMPING = (Conv, Depthwise, Add, Mul, Pool, GlobalPool)
IDENTITY = np.arange(-128, 128).astype(np.int8)


def simplify(network: Network) -> Network:
    """`network` without operators that need not run: dead ones, tables that only clamp, paddings that a convolution
    does itself. Names of the outputs stay."""
    while True:
        smaller = _drop_dead(network)
        for step in (_merge_lookup, _fold_pad):
            smaller = step(smaller)
        if len(smaller.ops) == len(network.ops):
            return _drop_unused_tensors(smaller)
        network = smaller


def with_output_names(network: Network, names: dict[str, str]) -> Network:
    """`network` with output tensors called as in the model file; `names` maps present to wanted names. A name that is
    taken by another tensor is left as it is."""
    free = {old: new for old, new in names.items() if new not in network.tensors and old in network.outputs}
    free = {old: new for old, new in free.items() if list(free.values()).count(new) == 1}

    def name(tensor: str) -> str:
        return free.get(tensor, tensor)

    return replace(
        network,
        outputs=tuple(name(t) for t in network.outputs),
        tensors={name(key): replace(t, name=name(key)) for key, t in network.tensors.items()},
        ops=tuple(replace(op, inputs=tuple(map(name, op.inputs)), output=name(op.output)) for op in network.ops),
    )


def _drop_dead(network: Network) -> Network:
    needed = set(network.outputs)
    kept: list[Op] = []
    for op in reversed(network.ops):
        if op.output in needed:
            needed.update(op.inputs)
            kept.append(op)
    return replace(network, ops=tuple(reversed(kept)))


def _drop_unused_tensors(network: Network) -> Network:
    used = {network.input, *(op.output for op in network.ops)}
    return replace(network, tensors={name: t for name, t in network.tensors.items() if name in used})


def _producer(network: Network, tensor: str) -> int | None:
    return next((i for i, op in enumerate(network.ops) if op.output == tensor), None)


def _merge_lookup(network: Network) -> Network:
    """Fold the first table that allows it into the operator before it."""
    for i, op in enumerate(network.ops):
        if not isinstance(op, Lookup):
            continue
        at = _producer(network, op.inputs[0])
        if at is None or len(network.consumers(op.inputs[0])) > 1 or op.inputs[0] in network.outputs:
            continue
        before = network.ops[at]
        merged: Op | None = None
        if isinstance(before, Lookup):
            merged = replace(before, table=op.table[before.table.astype(np.int64) + 128])
        elif isinstance(before, CLAMPING) and (clamp := clamp_of(op.table)) and _same_scale(network, op):
            merged = replace(before, clamp=_tightened(before.clamp, clamp))
        if merged is not None:
            ops = [
                *network.ops[:at],
                replace(merged, output=op.output),
                *network.ops[at + 1 : i],
                *network.ops[i + 1 :],
            ]
            return replace(network, ops=tuple(ops))
    return network


def clamp_of(table: Int8Array) -> tuple[int, int] | None:
    """(low, high) if the table is x clamped to that range, else None."""
    low, high = int(table.min()), int(table.max())
    return (low, high) if np.array_equal(table, np.clip(IDENTITY, low, high)) else None


def _same_scale(network: Network, op: Op) -> bool:
    a, b = network.tensors[op.inputs[0]], network.tensors[op.output]
    return a.scale == b.scale and a.zero_point == b.zero_point


def _tightened(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    low = min(max(a[0], b[0]), b[1])
    return (low, max(min(a[1], b[1]), low))


def _fold_pad(network: Network) -> Network:
    """Let convolutions do the first padding that they can do: they pad with the zero point, as long as it is narrower
    than their kernel."""
    for i, pad in enumerate(network.ops):
        if not isinstance(pad, Pad) or pad.output in network.outputs:
            continue
        source, padded = network.tensors[pad.inputs[0]], network.tensors[pad.output]
        readers = [network.ops[k] for k in network.consumers(pad.output)]
        if pad.value == source.zero_point and all(_takes(op, pad, source, padded, network) for op in readers):
            ops = [
                _padding(op, pad) if pad.output in op.inputs and isinstance(op, (Conv, Depthwise)) else op
                for op in (*network.ops[:i], *network.ops[i + 1 :])
            ]
            return replace(network, ops=tuple(ops))
    return network


def _takes(op: Op, pad: Pad, source: Tensor, padded: Tensor, network: Network) -> bool:
    if not isinstance(op, (Conv, Depthwise)):
        return False
    output = network.tensors[op.output]
    for window, before, size, out in (
        (op.rows, pad.pad[0], source.height, output.height),
        (op.cols, pad.pad[1], source.width, output.width),
    ):
        if window.pad + before >= window.kernel or (out - 1) * window.stride - window.pad - before >= size:
            return False
    return True


def _padding(op: Conv | Depthwise, pad: Pad) -> Conv | Depthwise:
    return replace(op, inputs=pad.inputs, pad=(op.pad[0] + pad.pad[0], op.pad[1] + pad.pad[1]))
