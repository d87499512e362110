"""Executes a plan on an arena of tags instead of numbers: proves that every row read is still the row that was meant.

This is the same walk as the C executor's, written independently of the solver's own bookkeeping.
"""

import numpy as np

from patchline.network.ir import GlobalPool
from patchline.schedule.geometry import Graph
from patchline.schedule.plan import Buffer, Plan
from patchline.schedule.push import Push


class TaggedArena:
    """Every arena byte holds (tensor, row, column) of what was last written there."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan, self.network = graph, plan, graph.network
        self.bytes = np.full(plan.arena_bytes, -1, dtype=np.int64)
        self.buffers = {b.name: b for b in plan.buffers if b.kind not in ("scratch", "accumulator")}
        self.work = {(b.name, b.kind): b for b in plan.buffers if b.kind in ("scratch", "accumulator")}
        self.ids = {name: i for i, name in enumerate(self.network.tensors)}
        self.reads = 0

    def tag(self, name: str, y: int, columns: np.ndarray) -> np.ndarray:
        return (self.ids[name] * 4096 + y) * 4096 + columns

    def span(self, buffer: Buffer, y: int, origin: int, lo: int, hi: int) -> slice:
        assert 0 <= lo - origin <= hi - origin <= buffer.cols, f"{buffer.name}: columns {lo}..{hi} outside the buffer"
        start = buffer.offset + ((y % buffer.rows) * buffer.cols + lo - origin) * buffer.channels
        return slice(start, start + (hi - lo) * buffer.channels)

    def write(self, name: str, y: int, origin: int, lo: int, hi: int) -> None:
        buffer = self.buffers[name]
        where = self.span(buffer, y, origin, lo, hi)
        assert where.stop <= self.plan.arena_bytes
        self.bytes[where] = np.repeat(self.tag(name, y, np.arange(lo, hi)), buffer.channels)

    def check(self, name: str, y: int, origin: int, lo: int, hi: int) -> None:
        buffer = self.buffers[name]
        expected = np.repeat(self.tag(name, y, np.arange(lo, hi)), buffer.channels)
        got = self.bytes[self.span(buffer, y, origin, lo, hi)]
        assert np.array_equal(got, expected), f"row {y} of {name} was overwritten before it was read"
        self.reads += 1

    def scribble(self, buffer: Buffer) -> None:
        self.bytes[buffer.offset : buffer.offset + buffer.bytes] = -2


def walk(graph: Graph, plan: Plan) -> TaggedArena:
    """Runs all segments; raises AssertionError where a read finds anything but what it was meant to find."""
    arena = TaggedArena(graph, plan)
    network = graph.network
    if plan.input_mode == "resident":
        t = network.tensors[network.input]
        for y in range(t.height):
            arena.write(network.input, y, 0, 0, t.width)
    for segment in plan.segments:
        for tile_row in range(segment.tile_rows):
            for tile_col in range(segment.tile_cols):
                rows = {r.tensor: r.rows[tile_row] for r in segment.ranges}
                cols = {r.tensor: r.cols[tile_col] for r in segment.ranges}
                for step in segment.steps:
                    if tile_row == tile_col == 0:
                        for op in network.ops[step[0] : step[1]]:
                            if isinstance(op, GlobalPool):  # its sums start from zero here
                                arena.scribble(arena.work[op.name, "accumulator"])
                    _run_step(arena, graph, plan, step, rows, cols, segment.batches)
    kept = [network.input] if plan.input_mode == "resident" else []  # for the next inference
    for name in (*network.outputs, *kept):
        t = network.tensors[name]
        for y in range(t.height):
            arena.check(name, y, 0, 0, t.width)
    return arena


def _run_step(arena, graph, plan, step, rows, cols, batches) -> None:
    network = graph.network
    source = plan.input_mode != "resident" and graph.fetches_input(step)
    push = Push(
        graph, step[0], step[1], {n: rows[n] if cols[n][1] > cols[n][0] else (0, 0) for n in rows}, source, batches
    )

    def origin(name: str) -> int:
        return (
            0
            if arena.buffers[name].kind == "tensor" or (plan.input_mode == "resident" and name == network.input)
            else cols[name][0]
        )

    def before(index: int) -> None:
        if index < 0:
            arena.write(network.input, push.next_row[network.input], origin(network.input), *cols[network.input])
            return
        op = network.ops[index]
        if scratch := arena.work.get((op.name, "scratch")):
            arena.scribble(scratch)
        if isinstance(op, GlobalPool):
            name = op.inputs[0]
            arena.check(name, push.eaten[op.output], origin(name), *cols[name])
            arena.scribble(arena.work[op.name, "accumulator"])
            if push.eaten[op.output] + 1 == push.ranges[name][1] and rows[op.output][1] and cols[op.output][1]:
                arena.write(op.output, 0, 0, 0, 1)
            return
        y = push.next_row[op.output]
        lo, hi = cols[op.output]
        if y % batches.get(index, 1):  # in one call with the row before: both, and those of the input, lie as one
            for name in (*op.inputs, op.output):
                buffer = arena.buffers[name]
                here, before = (arena.span(buffer, row, 0, 0, network.tensors[name].width) for row in (y, y - 1))
                assert here.start == before.stop or y == push.ranges[op.output][0], f"rows of {name} lie apart"
        for name in op.inputs:
            t = network.tensors[name]
            first = op.rows.first(y)
            wanted = (
                range(max(0, first), min(t.height, first + op.rows.kernel)) if t.height > 1 else range(min(1, t.height))
            )
            x_range = (0, 1) if t.width == 1 else op.cols.input_range(lo, hi, t.width)
            for row in wanted:
                arena.check(name, row, origin(name), *x_range)
        arena.write(op.output, y, origin(op.output), lo, hi)

    push.run(before)
    assert not push.unfinished()
