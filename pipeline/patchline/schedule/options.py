"""Cost of every segment the solver may use: what `memory.py` would say of it, computed for all cut points at once.

A block is a run of operators between two neighbouring cut points. For each end cut one backward walk gives the column
halo of all strip counts, so the whole table costs O(cuts * operators) vectorised steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from patchline.network.ir import GlobalPool
from patchline.schedule.geometry import Graph, Walk
from patchline.schedule.memory import (
    aligned,
    layer_steps,
    live_bytes,
    make_segment,
    redundant_macs,
    scratch_bytes,
    segment_buffers,
)
from patchline.schedule.overlap import UNSAFE, Distances, aligned_saving, saving, segment_overlaps
from patchline.schedule.plan import InputMode, SegmentKind
from patchline.schedule.push import Rings, network_rings

MAX_STRIPS = 16
MAX_GRID = 8
_STRIPS = (*range(1, MAX_STRIPS + 1), *range(2, MAX_STRIPS + 1))
_CUT_UP = tuple(i >= MAX_STRIPS for i in range(len(_STRIPS)))


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
    """Prices segments of one network under one input mode. `overlap`: outputs may lie over dying inputs."""

    graph: Graph
    mode: InputMode
    overlap: bool = True

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
    def _simulation(self) -> tuple[Rings, dict[tuple[str, str], int]]:
        """Rings, and the safe distances between all pairs of tensors that live at cuts."""
        graph = self.graph
        at_cuts = {name for cut in self.cuts[1:-1] for name in graph.live_at(cut)} | set(graph.network.outputs)
        pairs = [
            (i, o)
            for i in sorted(at_cuts)
            for o in sorted(at_cuts)
            if graph.producer[i] < graph.producer[o] and graph.last_use[i] < len(graph.network.ops)
        ]
        distances = Distances(graph, pairs if self.overlap else ())
        rings = network_rings(graph, distances.trace)
        return rings, distances.distance

    def all(self, kinds: frozenset[str]) -> list[Option]:
        """Every option of the given kinds, dominated ones removed per pair of cuts."""
        options: list[Option] = []
        for position, end in enumerate(self.cuts[1:], start=1):
            if "stream" in kinds:
                options.extend(self._streams(position, end))
            if "layer" in kinds:
                options.append(self._evaluated("layer", self.cuts[position - 1], end, 1))
            if "patch" in kinds and self.mode != "pushed":
                rivals = [o for o in options if o.first == 0 and o.end == end]
                options.extend(self._patches(end, rivals))
        return options

    def _evaluated(self, kind: SegmentKind, first: int, end: int, grid: int) -> Option:
        """Price by building the segment: exact, slower; for layers and patches, of which there are few."""
        network = self.graph.network
        segment = make_segment(self.graph, kind, first, end, grid, grid)
        buffers = segment_buffers(self.graph, segment, self.mode, self._simulation[0])
        live = live_bytes(buffers, len(network.ops), scratch=True)
        for o in segment_overlaps(self.graph, segment, self.mode, elementwise_only=True):
            for i in self._step(segment.steps, self.graph.producer[o.output]):
                live[i] -= aligned_saving(o, network)
        freed = self._freed(segment.steps, first)
        peak = self._live[first] + max(live[i] - freed[i] for i in range(first, end))
        return Option(kind, first, end, grid, grid, peak, redundant_macs(network, segment))

    @staticmethod
    def _step(steps: tuple[tuple[int, int], ...], op: int) -> range:
        return next(range(*s) for s in steps if s[0] <= op < s[1])

    def _freed(self, steps: tuple[tuple[int, int], ...], first: int) -> dict[int, int]:
        """Bytes of tensors alive at the start of a layer segment that are dead already at each of its operators."""
        graph, end = self.graph, steps[-1][1]
        freed = dict.fromkeys(range(first, end), 0)
        for name in graph.live_at(first):
            if first <= graph.last_use[name] < end:
                for i in range(self._step(steps, graph.last_use[name]).stop, end):
                    freed[i] += aligned(graph.network.tensors[name].bytes)
        return freed

    def _patches(self, end: int, rivals: list[Option]) -> list[Option]:
        """MCUNetV2's first segment in grids of 2x2 to 8x8, but for those that a stream beats in memory and MACs alike.

        A bound on the memory (output plus the largest tile that must be held whole) settles nearly all without pricing
        them.
        """
        graph, network = self.graph, self.graph.network
        counts = tuple(range(2, MAX_GRID + 1))
        rows, cols = Walk(graph, end, "rows", counts), Walk(graph, end, "cols", counts)
        rows.back_to(0)
        cols.back_to(0)
        whole = {network.ops[stop - 1].output for _, stop in layer_steps(graph, 0, end)}  # what passes between steps
        out_bytes, tile, macs, base = 0, np.zeros(len(counts), dtype=np.int64), np.zeros(len(counts), dtype=np.int64), 0
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
                tile = np.maximum(tile, area * tensor.channels)
        found = []
        for i, grid in enumerate(counts):
            if grid > min(rows.limit, cols.limit):
                break
            bound, extra = out_bytes + int(tile[i]), int(macs[i]) - base
            if not any(r.peak <= bound and r.extra_macs <= extra for r in rivals):
                found.append(self._evaluated("patch", 0, end, grid))
        return found

    def _streams(self, position: int, end: int) -> list[Option]:
        """Streams [first, end) for all first cuts and strip counts, from one walk."""
        graph, network = self.graph, self.graph.network
        rings, _ = self._simulation
        counts, up = _STRIPS, _CUT_UP
        rows = Walk(graph, end, "rows", (1,))
        cols = Walk(graph, end, "cols", counts, up)
        zero = np.zeros(len(counts), dtype=np.int64)
        held, flowing, macs, base = zero.copy(), [zero.copy() for _ in range(end)], zero.copy(), 0
        input_rows = zero
        out_bytes, options = 0, []
        for first in reversed(self.cuts[:position]):
            stop = self.cuts[self.cuts.index(first) + 1]
            rows.back_to(first)
            cols.back_to(first)
            for i in reversed(range(first, stop)):
                op = network.ops[i]
                tensor = network.tensors[op.output]
                lo, hi = cols.need[op.output]
                widths = np.maximum(1, np.maximum.reduceat(hi - lo, cols.starts))
                if per_position := network.macs_per_position(op):
                    row_lo, row_hi = rows.need[op.output]
                    macs = macs + per_position * int(row_hi[0] - row_lo[0]) * np.add.reduceat(hi - lo, cols.starts)
                    base += per_position * tensor.height * tensor.width
                if graph.last_use[op.output] >= end:
                    out_bytes += aligned(tensor.bytes)
                else:
                    size = -(-widths * tensor.channels * rings.rows[op.output] // 4) * 4
                    if op.output in rings.transient:
                        for j in range(i, graph.last_use[op.output] + 1):
                            flowing[j] = flowing[j] + size
                    else:
                        held = held + size
                if isinstance(op, GlobalPool):
                    held = held + 4 * tensor.channels
                scratch = [aligned(scratch_bytes(op, int(width))) for width in widths]
                flowing[i] = flowing[i] + np.array(scratch, dtype=np.int64)
            if first == 0 and self.mode != "resident":
                lo, hi = cols.need[network.input]
                t = network.tensors[network.input]
                widths = np.maximum.reduceat(hi - lo, cols.starts)
                input_rows = -(-widths * t.channels * rings.rows[network.input] // 4) * 4
            peaks = self._live[first] + out_bytes + held + input_rows + np.max(flowing[first:end], axis=0)
            limit = 1 if first == 0 and self.mode == "pushed" else min(cols.limit, MAX_STRIPS)
            allowed = np.flatnonzero(np.array(counts) <= limit)
            peaks[0] -= self._saved(first, end)
            options.extend(_undominated(first, end, allowed, peaks, macs - base))
        return options

    def _saved(self, first: int, end: int) -> int:
        """Bytes that the best overlap of an input dying in [first, end) with an output saves (one strip only)."""
        if not self.overlap:
            return 0
        graph, network, distance = self.graph, self.graph.network, self._simulation[1]
        dying = [t for t in graph.live_at(first) if graph.last_use[t] < end]
        outputs = graph.live_out(first, end)
        return max(
            (
                saving(
                    aligned(network.tensors[i].bytes), aligned(network.tensors[o].bytes), distance.get((i, o), UNSAFE)
                )
                for i in dying
                for o in outputs
            ),
            default=0,
        )


def _undominated(first: int, end: int, allowed: np.ndarray, peaks: np.ndarray, extra: np.ndarray) -> list[Option]:
    options: list[Option] = []
    least = 1 << 62
    for n in allowed[np.lexsort((peaks[allowed], extra[allowed]))]:
        if peaks[n] < least:
            least = int(peaks[n])
            options.append(Option("stream", first, end, 1, _STRIPS[n], least, int(max(0, extra[n])), up=_CUT_UP[n]))
    return options
