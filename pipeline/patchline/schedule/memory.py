"""The memory model: which buffers a schedule needs, how large they are and while which operators they live."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from patchline.network.ir import Conv, Depthwise, GlobalPool, Network, Resize
from patchline.schedule.geometry import Graph, segment_ranges
from patchline.schedule.plan import Buffer, BufferKind, InputMode, Segment, SegmentKind, TileRange
from patchline.schedule.push import Rings, simulate

ALIGNMENT = 4


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def layer_steps(graph: Graph, first: int, end: int) -> tuple[tuple[int, int], ...]:
    """One step per operator, but a depthwise goes row by row into the pointwise (and residual add) that alone reads it.

    This counts as the literature's in-place depthwise does: the expanded map is held once. A picture's change of size
    goes row by row into what alone reads it, as the rows of a picture do that needs none.
    """
    ops, steps, i = graph.network.ops, [], first
    while i < end:
        j = i + 1
        if isinstance(ops[i], Resize) and j < end and _alone_read_by(graph, i, j):
            j += 1
        elif isinstance(ops[i], Depthwise) and _feeds_only(graph, i, j, end) and isinstance(ops[j], Conv):
            j += 1
            if _feeds_only(graph, j - 1, j, end) and len(ops[j].inputs) == 2:
                j += 1
        steps.append((i, j))
        i = j
    return tuple(steps)


def _feeds_only(graph: Graph, i: int, j: int, end: int) -> bool:
    """Operator i's output is read by operator j alone, row for row."""
    return j < end and _alone_read_by(graph, i, j) and graph.network.ops[j].rows.kernel == 1


def _alone_read_by(graph: Graph, i: int, j: int) -> bool:
    """Operator j is the only one that reads operator i's output, which is no output of the network."""
    out = graph.network.ops[i].output
    return graph.consumers[out] == (j,) and graph.last_use[out] == j


def make_segment(
    graph: Graph, kind: SegmentKind, first: int, end: int, tile_rows: int = 1, tile_cols: int = 1, up: bool = False
) -> Segment:
    """A segment over operators [first, end); `up` as in `geometry.Walk`. Raises ValueError where it cannot be divided
    into that many tiles."""
    rows, row_limit = segment_ranges(graph, first, end, tile_rows, "rows")
    cols, col_limit = segment_ranges(graph, first, end, tile_cols, "cols", up)
    if tile_rows > max(1, row_limit) or tile_cols > max(1, col_limit):
        raise ValueError(
            f"operators {first}..{end - 1} cannot be divided into {tile_rows}x{tile_cols} tiles "
            f"(at most {row_limit}x{col_limit})"
        )
    steps = ((first, end),) if kind == "stream" else layer_steps(graph, first, end)
    ranges = tuple(TileRange(name, rows[name], cols[name]) for name in rows)
    return Segment(kind, first, end, steps, tile_rows, tile_cols, ranges, (1,) * (end - first))


def redundant_macs(network: Network, segment: Segment) -> int:
    """MACs that the segment executes more than once (recomputed halos). Rows that nobody reads are not credited."""
    ranges = {r.tensor: r for r in segment.ranges}
    done = needed = 0
    for op in network.ops[segment.first_op : segment.end_op]:
        if per_position := network.macs_per_position(op):
            r, out = ranges[op.output], network.tensors[op.output]
            done += per_position * sum(hi - lo for lo, hi in r.rows) * sum(hi - lo for lo, hi in r.cols)
            needed += per_position * out.height * out.width
    return max(0, done - needed)


def input_traffic(network: Network, segments: Iterable[Segment], mode: InputMode) -> int:
    """Input bytes fetched in one inference."""
    tensor = network.tensors[network.input]
    if mode == "resident":
        return tensor.bytes
    fetched = 0
    for segment in segments:
        for r in segment.ranges:
            if r.tensor == network.input:
                fetched += sum(hi - lo for lo, hi in r.rows) * sum(hi - lo for lo, hi in r.cols) * tensor.channels
    return fetched


def segment_buffers(graph: Graph, segment: Segment, mode: InputMode) -> list[Buffer]:
    """Buffers of everything the segment produces (and of the network input where it is fetched here), offsets unset.

    Lifetimes of tensors that leave the segment end where the segment ends; `schedule_buffers` extends them. Ring sizes
    come from a simulation of each step.
    """
    return _SegmentBuffers(graph, segment, mode).all()


class _SegmentBuffers:
    def __init__(self, graph: Graph, segment: Segment, mode: InputMode) -> None:
        self.graph, self.segment, self.mode = graph, segment, mode
        self.network = graph.network
        self.ranges = {r.tensor: r for r in segment.ranges}
        self.tiled = segment.tile_rows * segment.tile_cols > 1
        self.step_of = {op: step for step in segment.steps for op in range(*step)}

    def all(self) -> list[Buffer]:
        buffers = []
        for step in self.segment.steps:
            source = self._fetches_input(step)
            names = [op.output for op in self.network.ops[step[0] : step[1]]]
            rings = Rings({}, {})
            if any(self._inside(name, step) for name in names) or source:
                rings = self._rings(step, source)
            if source:
                buffers.append(self._input(step, rings))
            for name in names:
                buffers.append(self._tensor(name, step, rings))
            for index in range(*step):
                buffers.extend(self._working_memory(index, step))
        return buffers

    def _rings(self, step: tuple[int, int], source: bool) -> Rings:
        """Rings of a step: the worst over its rows of tiles. Most of `layer_steps` hand every row on at once."""
        ops = self.network.ops[step[0] : step[1]]
        row_by_row = self.segment.kind != "stream" and not source and all(op.rows.kernel == 1 for op in ops[1:])
        if row_by_row and not any(i in self.segment.batches for i in range(*step)):
            return Rings({op.output: 1 for op in ops}, {})
        found = [
            simulate(
                self.graph,
                step[0],
                step[1],
                {name: r.rows[tile] for name, r in self.ranges.items()},
                source,
                self.segment.batches,
            )
            for tile in range(self.segment.tile_rows)
        ]
        rows = {name: max(rings.rows[name] for rings in found) for name in found[0].rows}
        disturbed: dict[str, int] = {}
        for rings in found:
            disturbed |= {name: min(op, disturbed.get(name, op)) for name, op in rings.disturbed.items()}
        return Rings(rows, disturbed)

    def _fetches_input(self, step: tuple[int, int]) -> bool:
        return self.mode != "resident" and self.graph.fetches_input(step)

    def _inside(self, name: str, step: tuple[int, int]) -> bool:
        """The tensor is used up within the step that makes it."""
        return self.graph.last_use[name] < step[1]

    def _width(self, name: str) -> int:
        return max(1, max(hi - lo for lo, hi in self.ranges[name].cols))

    def _height(self, name: str) -> int:
        return max(1, max(hi - lo for lo, hi in self.ranges[name].rows))

    def _input(self, step: tuple[int, int], rings: Rings) -> Buffer:
        name = self.network.input
        inside = self._inside(name, step)
        rows = min(rings.rows[name], self._height(name)) if inside else self._height(name)
        last = step[1] - 1 if inside else self._last_step(name)
        return self._buffer(name, "input", rows, self._width(name), step[0], last)

    def _tensor(self, name: str, step: tuple[int, int], rings: Rings) -> Buffer:
        tensor = self.network.tensors[name]
        if self.graph.last_use[name] >= self.segment.end_op:
            first = self.segment.first_op if self.tiled else step[0]
            return self._buffer(name, "tensor", tensor.height, tensor.width, first, self.segment.end_op - 1)
        if not self._inside(name, step):
            if not self.tiled:
                return self._buffer(name, "tensor", tensor.height, tensor.width, step[0], self._last_step(name))
            return self._buffer(name, "ring", self._height(name), self._width(name), step[0], self._last_step(name))
        if rings.transient(name, step[1]):
            return self._buffer(name, "row", 1, self._width(name), self.graph.producer[name], self.graph.last_use[name])
        return self._buffer(
            name, "ring", min(rings.rows[name], self._height(name)), self._width(name), step[0], step[1] - 1
        )

    def _last_step(self, name: str) -> int:
        """Last operator of the last step of this segment that reads the tensor."""
        return self.step_of[min(self.graph.last_use[name], self.segment.end_op - 1)][1] - 1

    def _buffer(self, name: str, kind: BufferKind, rows: int, cols: int, first: int, last: int) -> Buffer:
        channels = self.network.tensors[name].channels
        return Buffer(name, kind, rows * cols * channels, 0, first, last, rows, cols, channels)

    def _working_memory(self, index: int, step: tuple[int, int]) -> list[Buffer]:
        op = self.network.ops[index]
        found = []
        if isinstance(op, GlobalPool):
            size = 4 * self.network.tensors[op.output].channels
            span = (self.segment.first_op, self.segment.end_op - 1) if self.tiled else (step[0], step[1] - 1)
            found.append(Buffer(op.name, "accumulator", size, 0, *span))
        columns = self._width(op.output) * self.segment.batches.get(index, 1)
        if size := self.graph.kernels[index].scratch_bytes(columns):
            found.append(Buffer(op.name, "scratch", size, 0, index, index))
        return found


def schedule_buffers(
    graph: Graph, segments: Sequence[Segment], mode: InputMode, buffers_of: Callable[[Segment], Iterable[Buffer]]
) -> list[Buffer]:
    """All buffers of a schedule with their lifetimes over the whole network; `buffers_of` is `segment_buffers`.

    Of a part of the schedule they live to the end of the network where no segment at hand reads them last.
    """
    network = graph.network
    last_op = len(network.ops) - 1
    end_of: dict[int, int] = {}  # operator -> last operator that runs while its segment or step still needs the inputs
    for segment in segments:
        tiled = segment.tile_rows * segment.tile_cols > 1
        for step in segment.steps:
            for op in range(*step):
                end_of[op] = segment.end_op - 1 if tiled else step[1] - 1
    buffers = [b for segment in segments for b in buffers_of(segment)]
    if mode == "resident":  # kept to the end, so that the next inference finds the same image
        t = network.tensors[network.input]
        buffers.append(Buffer(network.input, "input", t.bytes, 0, 0, last_op, t.height, t.width, t.channels))
    extended = []
    for b in buffers:
        if b.kind == "tensor":
            b = replace(b, last_op=max(b.last_op, end_of.get(graph.last_use[b.name], last_op)))
        extended.append(b)
    return extended


def live_bytes(buffers: Iterable[Buffer], count: int, scratch: bool) -> list[int]:
    """Bytes in use while each of `count` operators runs; with `scratch`, sizes as they are placed (aligned)."""
    change = [0] * (count + 1)
    for b in buffers:
        if b.kind == "scratch" and not scratch:
            continue
        size = aligned(b.bytes) if scratch else b.bytes
        change[b.first_op] += size
        change[b.last_op + 1] -= size
    total, out = 0, []
    for delta in change[:count]:
        total += delta
        out.append(total)
    return out
