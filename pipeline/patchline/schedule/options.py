"""Cost of every segment the solver may use: what `Occupancies.peak` says of it, computed for all cut points at once.

A block is a run of operators between two neighbouring cut points. For each end cut one backward walk gives the column
halo of all strip counts, so the whole table costs O(cuts * operators) vectorised steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from patchline.network.ir import GlobalPool
from patchline.schedule.geometry import Graph, Walk
from patchline.schedule.memory import aligned, layer_steps, make_segment, redundant_macs
from patchline.schedule.occupancy import Occupancies, OverlapMode
from patchline.schedule.plan import InputMode, SegmentKind
from patchline.schedule.push import Rings, RowRange
from patchline.schedule.streams import Streams

MAX_STRIPS = 16
MAX_GRID = 8
_STRIPS = (*range(1, MAX_STRIPS + 1), *range(2, MAX_STRIPS + 1))
_CUT_UP = tuple(i >= MAX_STRIPS for i in range(len(_STRIPS)))

Vector = NDArray[np.int64]  # a value per strip count
Rows = dict[str, RowRange]


@dataclass(frozen=True)
class Option:
    """One way to run operators [first, end): peak bytes while it runs (kernel scratch included) and redundant MACs."""

    kind: SegmentKind
    first: int
    end: int
    tile_rows: int
    tile_cols: int
    peak: int
    extra_macs: int
    up: bool = False  # how uneven strips are cut, see `geometry.Walk`


@dataclass(frozen=True, eq=False)
class SegmentCosts:
    """Prices segments of one network under one input mode and what may overlap."""

    graph: Graph
    mode: InputMode
    overlap: OverlapMode
    _scratch: dict[tuple[int, int], int] = field(default_factory=dict)

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Operator indices between which a segment may end: where at most one tensor that is no output is alive.

        Where a stretch has no such place (skip connections over many operators) the places with the fewest live
        tensors are taken, so that long skips do not force one huge segment. The input must be used up in the first
        segment unless resident.
        """
        graph, count = self.graph, len(self.graph.network.ops)
        outputs = set(graph.network.outputs)
        alive = [
            len([t for t in graph.live_at(c) if graph.last_use[t] < count or t not in outputs])
            for c in range(count + 1)
        ]
        earliest = 1
        if self.mode != "resident" and graph.consumers[graph.network.input]:
            earliest = graph.consumers[graph.network.input][-1] + 1
        inner = [c for c in range(earliest, count) if alive[c] <= 1 or self._is_waist(alive, c)]
        return (0, *inner, count)

    @staticmethod
    def _is_waist(alive: list[int], cut: int, reach: int = 8) -> bool:
        near = alive[max(1, cut - reach) : cut + reach + 1]
        return min(near) > 1 and alive[cut] == min(near)

    @cached_property
    def _live(self) -> dict[int, int]:
        """Bytes of the tensors alive across each cut (with the whole image when it is resident)."""
        graph = self.graph
        tensors = graph.network.tensors
        table = {}
        for cut in self.cuts:
            total = sum(aligned(tensors[name].bytes) for name in graph.live_at(cut))
            if self.mode == "resident":
                total += aligned(tensors[graph.network.input].bytes)
            table[cut] = total
        return table

    @cached_property
    def _streams_of(self) -> Streams:
        return Streams(self.graph, self.mode, self.cuts, overlap=self.overlap == "rows")

    @cached_property
    def _occupancies(self) -> Occupancies:
        return Occupancies(self.graph, self.mode, self.overlap)

    def all(self, kinds: frozenset[str]) -> list[Option]:
        """Every option of the given kinds, dominated ones removed per pair of cuts."""
        options: list[Option] = []
        for position, end in enumerate(self.cuts[1:], start=1):
            if "stream" in kinds:
                options.extend(self._streams(position, end))
            if "layer" in kinds:
                options.extend(self._evaluated("layer", first, end, 1) for first in self._layer_starts(position))
            if "patch" in kinds and self.mode != "pushed":
                rivals = [o for o in options if o.first == 0 and o.end == end]
                options.extend(self._patches(end, rivals))
        return options

    def _layer_starts(self, position: int) -> set[int]:
        """Cuts from which a layer segment may run to cut number `position`: the one before, and where that would tear
        a step of two operators apart, the last one in front of the step."""
        before = self.cuts[position - 1]
        step = next((s for s in self._layer_steps if s[0] < before < s[1]), (before, before))
        return {before, max(cut for cut in self.cuts if cut <= step[0])}

    @cached_property
    def _layer_steps(self) -> tuple[tuple[int, int], ...]:
        return layer_steps(self.graph, 0, len(self.graph.network.ops))

    def _evaluated(self, kind: SegmentKind, first: int, end: int, grid: int) -> Option:
        """Price by building the segment: slower; for layers and patches, of which there are few."""
        segment = make_segment(self.graph, kind, first, end, grid, grid)
        peak = self._occupancies.peak(segment)
        return Option(kind, first, end, grid, grid, peak, redundant_macs(self.graph.network, segment))

    def _patches(self, end: int, rivals: list[Option]) -> list[Option]:
        """MCUNetV2's first segment in grids of 2x2 to 8x8, but for those that a stream beats in memory and MACs alike.

        A bound on the memory (outputs, and the tiles that are held whole at the same time) settles nearly all without
        pricing them.
        """
        graph, network = self.graph, self.graph.network
        counts = tuple(range(2, MAX_GRID + 1))
        rows, cols = Walk(graph, end, "rows", counts), Walk(graph, end, "cols", counts)
        rows.back_to(0)
        cols.back_to(0)
        whole = {network.ops[stop - 1].output for _, stop in layer_steps(graph, 0, end)}  # what passes between steps
        out_bytes, macs, base = 0, np.zeros(len(counts), dtype=np.int64), 0
        tiles = np.zeros((end, len(counts)), dtype=np.int64)  # held while each operator runs
        for op in network.ops[:end]:
            name, tensor = op.output, network.tensors[op.output]
            heights, widths = (w.need[name][1] - w.need[name][0] for w in (rows, cols))
            per_position = network.macs_per_position(op)
            macs = macs + per_position * np.add.reduceat(heights, rows.starts) * np.add.reduceat(widths, cols.starts)
            base += per_position * tensor.height * tensor.width
            if graph.last_use[name] >= end:
                out_bytes += tensor.bytes
            elif name in whole:
                area = np.maximum.reduceat(heights, rows.starts) * np.maximum.reduceat(widths, cols.starts)
                tiles[graph.producer[name] : graph.last_use[name] + 1] += area * tensor.channels
        found, most = [], tiles.max(axis=0)
        for i, grid in enumerate(counts):
            if grid > min(rows.limit, cols.limit):
                break
            bound, extra = out_bytes + int(most[i]), int(macs[i]) - base
            if not any(r.peak <= bound and r.extra_macs <= extra for r in rivals):
                found.append(self._evaluated("patch", 0, end, grid))
        return found

    def _streams(self, position: int, end: int) -> list[Option]:
        """Streams [first, end) for all first cuts and strip counts, from one walk."""
        graph, network, streams = self.graph, self.graph.network, self._streams_of
        rows = streams.rows(end)
        cols = Walk(graph, end, "cols", _STRIPS, _CUT_UP)
        widths: dict[str, Vector] = {}
        held: dict[int, _Held] = {}  # by rings, which many streams share
        macs, base = np.zeros(len(_STRIPS), dtype=np.int64), 0
        out_bytes, options = 0, []
        for cut in reversed(range(position)):
            first, stop = self.cuts[cut], self.cuts[cut + 1]
            cols.back_to(first)
            for op in reversed(network.ops[first:stop]):
                name, tensor = op.output, network.tensors[op.output]
                lo, hi = cols.need[name]
                widths[name] = np.maximum(1, np.maximum.reduceat(hi - lo, cols.starts))
                if per_position := network.macs_per_position(op):
                    height = rows[name][1] - rows[name][0]
                    macs = macs + per_position * height * np.add.reduceat(hi - lo, cols.starts)
                    base += per_position * tensor.height * tensor.width
                if graph.last_use[name] >= end:
                    out_bytes += aligned(tensor.bytes)
            rings = streams.rings(first, end)
            if id(rings) not in held:
                held[id(rings)] = _Held(self, end, rings)
            inside = held[id(rings)]
            inside.back_to(first, rows, widths)
            peaks = self._live[first] + out_bytes + inside.most()
            if self.mode != "resident" and graph.fetches_input((first, end)):
                lo, hi = cols.need[network.input]
                width = np.maximum(1, np.maximum.reduceat(hi - lo, cols.starts))
                peaks = peaks + _ring_bytes(graph, network.input, width, rows, rings)
            limit = 1 if first == 0 and self.mode == "pushed" else min(cols.limit, MAX_STRIPS)
            allowed = np.flatnonzero(np.array(_STRIPS) <= limit)
            peaks[0] -= streams.saved(first, end)
            options.extend(_undominated(first, end, allowed, peaks, macs - base))
        return options

    def scratch(self, index: int, widths: Vector) -> Vector:
        """Aligned kernel scratch of operator `index` for rows of `widths` columns."""
        known, kernel = self._scratch, self.graph.kernels[index]
        for width in widths.tolist():
            if (index, width) not in known:
                known[index, width] = aligned(kernel.scratch_bytes(width))
        return np.array([known[index, width] for width in widths.tolist()], dtype=np.int64)


class _Held:
    """Bytes that a stream up to operator `end` holds beside what comes from or goes to the outside, by strip count."""

    def __init__(self, costs: SegmentCosts, end: int, rings: Rings) -> None:
        self.costs, self.end, self.rings = costs, end, rings
        self._at = end
        self._throughout = np.zeros(len(_STRIPS), dtype=np.int64)
        self._while = np.zeros((end, len(_STRIPS)), dtype=np.int64)  # an operator runs

    def back_to(self, first: int, rows: Rows, widths: dict[str, Vector]) -> None:
        """Count the operators from `first` on in."""
        graph, end = self.costs.graph, self.end
        for i in range(first, self._at):
            op = graph.network.ops[i]
            name, last = op.output, graph.last_use[op.output]
            if last < end:
                size = _ring_bytes(graph, name, widths[name], rows, self.rings)
                if self.rings.transient(name, end):
                    self._while[i : last + 1] += size
                else:
                    self._throughout += size
            if isinstance(op, GlobalPool):
                self._throughout += 4 * graph.network.tensors[name].channels
            self._while[i] += self.costs.scratch(i, widths[name])
        self._at = first

    def most(self) -> Vector:
        return self._throughout + self._while[self._at :].max(axis=0)


def _ring_bytes(graph: Graph, name: str, widths: Vector, rows: Rows, rings: Rings) -> Vector:
    """Aligned bytes of a tensor's ring, which holds no more rows than the stream computes."""
    height = max(1, min(rings.rows[name], rows[name][1] - rows[name][0]))
    size: Vector = -(-widths * graph.network.tensors[name].channels * height // 4) * 4
    return size


def _undominated(first: int, end: int, allowed: Vector, peaks: Vector, extra: Vector) -> list[Option]:
    """Those that no other beats in bytes, redundant MACs and strips alike: kernels are slower on narrow strips, also
    where nothing is computed twice, and what a segment saves below another one's peak is worth nothing."""
    options: list[Option] = []
    strips = np.array(_STRIPS)
    for n in allowed[np.lexsort((peaks[allowed], strips[allowed], extra[allowed]))]:
        if not any(o.tile_cols <= _STRIPS[n] and o.peak <= peaks[n] for o in options):
            found = Option("stream", first, end, 1, _STRIPS[n], int(peaks[n]), int(max(0, extra[n])), up=_CUT_UP[n])
            options.append(found)
    return options
