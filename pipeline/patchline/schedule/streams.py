"""What the push shows of every stream that the solver may try: rings and safe distances, from few simulations.

A stream [first, end) is simulated as it will run, from its first operator on, with the tensors made before it there as
a whole. Most streams need no simulation of their own, because

* operators behind `end` never change the order of those before it: nothing waits for its consumers. One simulation
  from `first` to the end of the network serves all ends between which the same rows are computed;
* where all that is read behind a cut is one tensor, and its rows are what everything there waits for anyhow, it does
  not matter whether they are there as a whole or arrive one by one (`arrives_alike`). So is it at every cut of a
  chain, residuals included; not in front of parallel branches, of which the last one runs to its end first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from patchline.network.ir import GlobalPool, Op
from patchline.schedule.geometry import Graph, segment_ranges
from patchline.schedule.overlap import Distances, aligned_saving, best_matching, possible_overlaps
from patchline.schedule.plan import InputMode
from patchline.schedule.push import Rings, RowRange, simulate

Pairs = dict[tuple[str, str], int]


@dataclass(frozen=True, eq=False)
class Streams:
    """Streams of one network between `cuts`. With `overlap`, outputs may lie over dying inputs."""

    graph: Graph
    mode: InputMode
    cuts: tuple[int, ...]
    overlap: bool
    _simulated: dict[tuple[int, int, bool], tuple[Rings, Pairs]] = field(default_factory=dict)
    _rows: dict[int, dict[str, RowRange]] = field(default_factory=dict)
    _same_from: dict[int, int] = field(default_factory=dict)
    _alike: dict[int, bool] = field(default_factory=dict)

    def rows(self, end: int) -> dict[str, RowRange]:
        """Rows of every tensor that streams up to operator `end` compute or read."""
        if end not in self._rows:
            ranges, _ = segment_ranges(self.graph, 0, end, 1, "rows")
            self._rows[end] = {name: only for name, (only,) in ranges.items()}
        return self._rows[end]

    def rings(self, first: int, end: int) -> Rings:
        """Rings of the stream [first, end); the same object for streams that share a simulation."""
        return self._simulation(first, end)[0]

    def saved(self, first: int, end: int) -> int:
        """Bytes that overlaps of inputs dying in the stream with its outputs save, over all of the stream."""
        if not self.overlap:
            return 0
        network, last_use = self.graph.network, self.graph.last_use
        dying = [name for name in self.graph.live_at(first) if last_use[name] < end]
        outputs = self.graph.live_out(first, end)
        if not dying or not outputs:
            return 0
        distance = self._simulation(first, end)[1]
        pairs = {(i, o): distance[i, o] for i in dying for o in outputs if (i, o) in distance}
        return sum(aligned_saving(o, network) for o in best_matching(possible_overlaps(network, pairs)))

    def _simulation(self, first: int, end: int) -> tuple[Rings, Pairs]:
        if end not in self._same_from:
            self._same_from[end] = self._rows_differ_before(end)
        if first not in self._alike:
            self._alike[first] = arrives_alike(self.graph, first)
        stop = len(self.graph.network.ops) if first >= self._same_from[end] else end
        arriving = self._alike[first] or (first == 0 and self.mode != "resident")
        key = (0 if arriving else first, stop, arriving)
        if key not in self._simulated:
            distances = Distances(self.graph, self._pairs(key[0]) if self.overlap else ())
            rings = simulate(
                self.graph, key[0], stop, self.rows(stop), source=arriving, batches={}, trace=distances.trace
            )
            self._simulated[key] = rings, distances.distance
        return self._simulated[key]

    def _rows_differ_before(self, end: int) -> int:
        """The first operator from which on streams up to `end` compute the same rows as the whole network does."""
        here, whole = self.rows(end), self.rows(len(self.graph.network.ops))
        ops, first = self.graph.network.ops, end
        while first and here[ops[first - 1].output] == whole[ops[first - 1].output]:
            first -= 1
        return first

    def _pairs(self, first: int) -> list[tuple[str, str]]:
        """(input, output) of streams from `first` (0: of all): the one dies in a stream, the other outlives it."""
        graph = self.graph
        starts = self.cuts[1:-1] if first == 0 else (first,)
        outputs = {name for cut in self.cuts[1:-1] for name in graph.live_at(cut)} | set(graph.network.outputs)
        dying = {name for cut in starts for name in graph.live_at(cut) if graph.last_use[name] < len(graph.network.ops)}
        return [(i, o) for i in sorted(dying) for o in sorted(outputs) if graph.producer[i] < graph.producer[o]]


def arrives_alike(graph: Graph, first: int) -> bool:
    """Whether operators from `first` on fire in the same order when what they read from before is there as a whole as
    when its rows arrive one by one.

    So it is where they read one tensor only, nothing before reads it, and whoever reads it beside another tensor never
    waits for it alone: the rows that made the other one were behind in the queue.
    """
    ops = graph.network.ops
    outside = [name for name, users in graph.consumers.items() if users and graph.producer[name] < first <= users[-1]]
    if len(outside) != 1:
        return False
    source = outside[0]
    users = graph.consumers[source]
    if users[0] != first or ops[first].inputs != (source,):
        return False
    latest = {source: np.arange(graph.network.tensors[source].height)}  # by row: the latest row of source behind it
    for i in range(first, users[-1] + 1):
        op = ops[i]
        others = [name for name in op.inputs if name != source]
        waits = {name: _latest_read(graph, op, name, latest[name]) for name in dict.fromkeys(op.inputs)}
        through = np.max([waits[name] for name in others], axis=0) if others else np.full_like(waits[source], -1)
        if source in waits and i != first and (waits[source] > through).any():
            return False
        latest[op.output] = np.maximum.accumulate(np.max(list(waits.values()), axis=0))
    return True


def _latest_read(graph: Graph, op: Op, name: str, latest: np.ndarray) -> np.ndarray:
    """By output row of `op`: the latest of the rows of tensor `name` that it waits for, as `latest` has them."""
    height = len(latest)
    count = graph.network.tensors[op.output].height
    if isinstance(op, GlobalPool):
        return np.full(count, latest[-1])
    if height == 1:
        return np.full(count, latest[0])
    window = op.rows
    start = np.array([window.first(y) for y in range(count)])
    stop = np.minimum(start + window.kernel - 1, height - 1)
    return np.where((start < height) & (stop >= 0), latest[np.maximum(stop, 0)], -1)
