"""Which part of every tensor each tile of a segment needs: the halo, walked backwards from the segment's outputs.

Rows and columns are independent of each other, so both directions use the same walk. A global pool is an anchor: its
input is what the tiles divide, and everything behind it happens once, in the last tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchline.cores.armv7em.kernels import KernelChoice, choose
from patchline.network.ir import GlobalPool, Network, Op, Window

Axis = Literal["rows", "cols"]
Ranges = tuple[NDArray[np.int64], NDArray[np.int64]]  # lo, hi of each tile
NO_LIMIT = 1 << 30


@dataclass(frozen=True, eq=False)
class Graph:
    """Look-up tables over a network that the schedule modules share."""

    network: Network

    @cached_property
    def producer(self) -> dict[str, int]:
        """Operator index that produces each tensor; -1 for the network input."""
        table = {op.output: i for i, op in enumerate(self.network.ops)}
        table[self.network.input] = -1
        return table

    @cached_property
    def last_use(self) -> dict[str, int]:
        """Last operator that reads each tensor; `len(ops)` for network outputs (they outlive the inference)."""
        table = dict(self.producer)
        for i, op in enumerate(self.network.ops):
            for name in op.inputs:
                table[name] = i
        for name in self.network.outputs:
            table[name] = len(self.network.ops)
        return table

    @cached_property
    def behind_pool(self) -> frozenset[str]:
        """Tensors that depend on a global pool and are one position large."""
        found: set[str] = set()
        for op in self.network.ops:
            out = self.network.tensors[op.output]
            if out.height == out.width == 1 and (isinstance(op, GlobalPool) or any(t in found for t in op.inputs)):
                found.add(op.output)
        return frozenset(found)

    @cached_property
    def row_windows(self) -> tuple[Window, ...]:
        """`op.rows` of every operator, made once: the simulation asks millions of times."""
        return tuple(op.rows for op in self.network.ops)

    @cached_property
    def kernels(self) -> tuple[KernelChoice, ...]:
        """The kernel of every operator. One set serves all boards: plans are the same for every core of the family."""
        return tuple(choose(self.network, op) for op in self.network.ops)

    @cached_property
    def consumers(self) -> dict[str, tuple[int, ...]]:
        table: dict[str, list[int]] = {name: [] for name in self.network.tensors}
        for i, op in enumerate(self.network.ops):
            for name in dict.fromkeys(op.inputs):
                table[name].append(i)
        return {name: tuple(indices) for name, indices in table.items()}

    def live_out(self, first: int, end: int) -> list[str]:
        """Tensors produced by operators [first, end) and read at or after `end` (or outputs of the network)."""
        ops = self.network.ops[first:end]
        return [op.output for op in ops if self.last_use[op.output] >= end]

    def live_at(self, cut: int) -> list[str]:
        """Tensors (without the network input) produced before operator `cut` and read at or after it."""
        return [op.output for op in self.network.ops[:cut] if self.last_use[op.output] >= cut]

    def fetches_input(self, step: tuple[int, int]) -> bool:
        """The step is the first that reads the network input, so (unless it is resident) its rows arrive here."""
        readers = self.consumers[self.network.input]
        return bool(readers) and step[0] <= readers[0] < step[1]

    def size(self, tensor: str, axis: Axis) -> int:
        t = self.network.tensors[tensor]
        return t.height if axis == "rows" else t.width


class Walk:
    """Backward walk from the end of a segment, for several tile counts at once.

    `counts` are the tile counts asked for, `up` tells for each how its tiles are cut where they cannot be equal: edges
    rounded down, or half up, which of two uneven tiles makes the first the larger one. (Padding decides which of them
    needs the more input.) The tiles lie one after the other in every lo/hi array. After `back_to(i)`, `need[t]` holds
    the range of each tensor that operators [i, end) touch, and `limit` the largest tile count for which a segment
    [i, end) makes sense (1: it cannot be divided).
    """

    def __init__(
        self, graph: Graph, end: int, axis: Axis, counts: Sequence[int], up: Sequence[bool] | None = None
    ) -> None:
        self.graph, self.end, self.axis, self.counts = graph, end, axis, tuple(counts)
        self._up = tuple(up or [False] * len(self.counts))
        self.starts = np.concatenate(([0], np.cumsum(self.counts)[:-1])).astype(np.int64)
        self._last = self.starts + np.array(self.counts) - 1  # the last tile of each count
        self.need: dict[str, Ranges] = {}
        self._limit = NO_LIMIT
        self._divided = False
        self._at = end

    @property
    def limit(self) -> int:
        return self._limit if self._divided else 1

    def back_to(self, first: int) -> None:
        while self._at > first:
            self._at -= 1
            self._visit(self.graph.network.ops[self._at])

    def _visit(self, op: Op) -> None:
        out = op.output
        if self.graph.last_use[out] >= self.end:
            if out in self.graph.behind_pool:
                self._demand(out, self._only_last())
            else:
                self._demand(out, self._partition(self.graph.size(out, self.axis)))
        if out not in self.need:
            self.need[out] = self._nothing()  # nobody reads it
        if isinstance(op, GlobalPool):
            lo, hi = self.need[out]
            everywhere = np.delete(hi - lo, self._last)
            if everywhere.size and everywhere.any():
                self._limit = 1  # the pooled value is wanted before all tiles have passed
            self._demand(op.inputs[0], self._partition(self.graph.size(op.inputs[0], self.axis)))
            return
        window = op.rows if self.axis == "rows" else op.cols
        for name in op.inputs:
            self._demand(name, _input_ranges(window, self.need[out], self.graph.size(name, self.axis)))

    def _partition(self, size: int) -> Ranges:
        self._divided = True
        self._limit = min(self._limit, size)
        edges = [
            (np.arange(count + 1) * size + up * (count // 2)) // count
            for count, up in zip(self.counts, self._up, strict=True)
        ]
        return np.concatenate([e[:-1] for e in edges]), np.concatenate([e[1:] for e in edges])

    def _only_last(self) -> Ranges:
        lo, hi = self._nothing()
        hi[self._last] = 1
        return lo, hi

    def _nothing(self) -> Ranges:
        total = sum(self.counts)
        return np.zeros(total, dtype=np.int64), np.zeros(total, dtype=np.int64)

    def _demand(self, name: str, ranges: Ranges) -> None:
        if name not in self.need:
            self.need[name] = ranges
            return
        (lo_a, hi_a), (lo_b, hi_b) = self.need[name], ranges
        empty_a, empty_b = hi_a <= lo_a, hi_b <= lo_b
        lo = np.where(empty_a, lo_b, np.where(empty_b, lo_a, np.minimum(lo_a, lo_b)))
        self.need[name] = (lo, np.maximum(hi_a, hi_b))


def _input_ranges(window: Window, out: Ranges, size: int) -> Ranges:
    lo, hi = out
    if size == 1:  # also the broadcast factor of a squeeze-and-excitation
        return np.zeros_like(lo), (hi > lo).astype(np.int64)
    start = np.maximum(0, lo * window.stride // window.up - window.pad)
    stop = np.minimum(size, (hi - 1) * window.stride // window.up - window.pad + window.kernel)
    empty = (hi <= lo) | (stop <= start)
    return np.where(empty, 0, start), np.where(empty, 0, stop)


def segment_ranges(
    graph: Graph, first: int, end: int, tiles: int, axis: Axis, up: bool = False
) -> tuple[dict[str, tuple[tuple[int, int], ...]], int]:
    """Range of every tensor that operators [first, end) touch, for `tiles` tiles; and the largest sensible tile
    count."""
    walk = Walk(graph, end, axis, (tiles,), (up,))
    walk.back_to(first)
    ranges = {name: tuple((int(lo), int(hi)) for lo, hi in zip(*walk.need[name], strict=True)) for name in walk.need}
    return ranges, walk.limit
