"""Where an output may lie over its dying input: the safe distance, read off the simulated push.

While output row y is written, rows of the input from m(y) on are still wanted. With row sizes r_out and r_in the
output may start `distance` = max over y of (y + 1) * r_out - m(y) * r_in bytes below the input (a negative distance:
that much above its start). vMCU (Zheng et al., MLSys 2024) shares segments in the same spirit, one operator at a time;
here it spans a fused segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from patchline.network.ir import Add, Lookup, Mul, Network
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import aligned
from patchline.schedule.plan import InputMode, Overlap, Segment
from patchline.schedule.push import DONE, Push, Trace, simulate

ELEMENTWISE = (Add, Mul, Lookup)
UNSAFE = 1 << 40


class Distances:
    """Collects the safe distance of (input, output) pairs; pass `trace` to a simulation."""

    def __init__(self, graph: Graph, pairs: Iterable[tuple[str, str]]) -> None:
        self.graph = graph
        self.inputs_of: dict[str, list[str]] = {}
        for source, output in pairs:
            self.inputs_of.setdefault(output, []).append(source)
        self.distance: dict[tuple[str, str], int] = {}

    @property
    def trace(self) -> Trace:
        return self._on_row

    def _on_row(self, push: Push, index: int, row: int) -> None:
        if index < 0:
            return
        op = self.graph.network.ops[index]
        for source in self.inputs_of.get(op.output, ()):
            consumers = self.graph.consumers[source]
            if isinstance(op, ELEMENTWISE) and source in op.inputs and self._same_shape(source, op.output):
                # reads element i before it writes element i: its own row counts as read
                others = tuple(c for c in consumers if c != index)
                oldest = min(push.oldest_needed(source, others), row + 1)
            else:
                oldest = push.oldest_needed(source, consumers)
            height, row_bytes = self._rows(source)
            if oldest >= min(height, DONE):
                needed = -UNSAFE
            else:
                needed = (row + 1) * self._rows(op.output)[1] - oldest * row_bytes
            key = (source, op.output)
            self.distance[key] = max(self.distance.get(key, -UNSAFE), needed)

    def _rows(self, name: str) -> tuple[int, int]:
        t = self.graph.network.tensors[name]
        return t.height, t.width * t.channels

    def _same_shape(self, a: str, b: str) -> bool:
        return self.graph.network.tensors[a].shape == self.graph.network.tensors[b].shape


def saving(size_in: int, size_out: int, distance: int) -> int:
    """Bytes that overlapping at the best safe place saves against holding both tensors."""
    union = max(size_in, size_out) if distance <= 0 else max(distance + size_in, size_out)
    return max(0, size_in + size_out - union)


def aligned_saving(overlap: Overlap, network: Network) -> int:
    """The same between tensors as they are placed, sizes and distance rounded up to the alignment."""
    size_in, size_out = (aligned(network.tensors[name].bytes) for name in (overlap.input, overlap.output))
    return saving(size_in, size_out, aligned(overlap.distance))


def segment_overlaps(graph: Graph, segment: Segment, mode: InputMode, elementwise_only: bool) -> list[Overlap]:
    """At most one overlap per tensor of a one-tile segment, largest saving first. Tiled segments read their input
    again."""
    if segment.tile_rows * segment.tile_cols > 1:
        return []
    network = graph.network
    found: list[Overlap] = []
    for first, end in segment.steps:
        ops = network.ops[first:end]
        inputs = {
            name for op in ops for name in op.inputs if graph.producer[name] < first and graph.last_use[name] < end
        }
        inputs.discard(network.input)  # its rows come and go, or it stays whole for the next inference
        outputs = [op.output for op in ops if graph.last_use[op.output] >= end]
        if elementwise_only:
            outputs = [op.output for op in ops if op.output in outputs and isinstance(op, ELEMENTWISE)]
        pairs = [(i, o) for i in sorted(inputs) for o in outputs]
        if not pairs:
            continue
        distances = Distances(graph, pairs)
        rows = {r.tensor: r.rows[0] for r in segment.ranges}
        source = mode != "resident" and graph.fetches_input((first, end))
        simulate(graph, first, end, rows, source, segment.batches, distances.trace)
        found.extend(possible_overlaps(network, distances.distance))
    return best_matching(found)


def possible_overlaps(network: Network, distance: Mapping[tuple[str, str], int]) -> list[Overlap]:
    """The overlaps of (input, output) pairs at their safe distances that save anything."""
    found = []
    for (i, o), least in distance.items():
        size_in, size_out = network.tensors[i].bytes, network.tensors[o].bytes
        least = max(least, -size_in)
        if saved := saving(size_in, size_out, least):
            found.append(Overlap(o, i, least, saved))
    return found


def best_matching(found: Iterable[Overlap]) -> list[Overlap]:
    """At most one overlap per tensor, largest saving first."""
    chosen: list[Overlap] = []
    for overlap in sorted(found, key=lambda o: (-o.saved, o.output, o.input)):
        if all(overlap.input != c.input and overlap.output != c.output for c in chosen):
            chosen.append(overlap)
    return chosen
