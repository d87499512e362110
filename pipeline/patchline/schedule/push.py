"""Simulation of the push: the firing order of the executor, row by row.

The rule, shared with the C executor: a new input row is offered; then, again and again, the ready operator with the
highest index fires, for one row or for as many as it computes at once. From the order follows how many rows of each
tensor must be kept (its ring), which one-row buffers are free again at once, and how far an output may overlap its
dying input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from patchline.network.ir import GlobalPool, Network
from patchline.schedule.geometry import Graph

RowRange = tuple[int, int]
DONE = 1 << 30
Trace = Callable[["Push", int, int], None]


@dataclass(frozen=True)
class Rings:
    """What one pass over the rows showed."""

    rows: dict[str, int]  # slots each tensor's ring needs
    disturbed: dict[str, int]  # the first operator outside producer..consumers that runs while a one-row ring is in use

    def transient(self, name: str, end: int) -> bool:
        """The tensor's ring is one row, and empty whenever an operator before `end` outside producer..consumers
        runs."""
        return self.rows[name] == 1 and self.disturbed.get(name, DONE) >= end


class Push:
    """State of one step: operators [first, end), with the row range [lo, hi) that the tile computes of each tensor."""

    def __init__(
        self, graph: Graph, first: int, end: int, rows: Mapping[str, RowRange], source: bool,
        batches: Mapping[int, int],
    ) -> None:  # fmt: skip
        self.network: Network = graph.network
        self.batches = batches
        self.windows = graph.row_windows
        self.heights = {name: tensor.height for name, tensor in graph.network.tensors.items()}
        self.first, self.end, self.ranges = first, end, rows
        ops = self.network.ops
        self.next_row = {op.output: rows[op.output][0] for op in ops[first:end]}
        if source:
            self.next_row[self.network.input] = rows[self.network.input][0]
        # a global pool counts the rows it has eaten
        self.eaten = {op.output: rows[op.inputs[0]][0] for op in ops[first:end] if isinstance(op, GlobalPool)}
        self.jump = {
            i: max((c for c in graph.consumers[ops[i].output] if first <= c < end), default=i)
            for i in range(first, end)
        }
        self.source_jump = max((c for c in graph.consumers[self.network.input] if first <= c < end), default=first)

    def rows_due(self, index: int) -> int:
        """Rows that operator `index` computes when it fires next: up to a multiple of its batch."""
        batch = self.batches.get(index)
        if batch is None:
            return 1
        y = self.next_row[self.network.ops[index].output]
        return min(batch - y % batch, self.ranges[self.network.ops[index].output][1] - y)

    def ready(self, index: int) -> bool:
        op = self.network.ops[index]
        if op.output in self.eaten:
            name = op.inputs[0]
            return self.eaten[op.output] < min(self.ranges[name][1], self.next_row.get(name, DONE))
        y = self.next_row[op.output]
        if y >= self.ranges[op.output][1]:
            return False
        window = self.windows[index]
        if index in self.batches:
            y += self.rows_due(index) - 1
        first = window.first(y)
        for name in op.inputs:
            if name not in self.next_row:
                continue
            height = self.heights[name]
            last = 0 if height == 1 else min(first + window.kernel - 1, height - 1)
            if first < height and last >= self.next_row[name]:
                return False
        return True

    def fire(self, index: int) -> None:
        """One row of operator `index` is done."""
        op = self.network.ops[index]
        if op.output in self.eaten:
            self.eaten[op.output] += 1
            if self.eaten[op.output] == self.ranges[op.inputs[0]][1]:
                self.next_row[op.output] = self.ranges[op.output][1]
        else:
            self.next_row[op.output] += 1

    def oldest_needed(self, name: str, consumers: tuple[int, ...]) -> int:
        """First row of a tensor that some operator of the step still has to read (DONE: none)."""
        oldest = DONE
        for index in consumers:
            if not self.first <= index < self.end:
                continue
            op = self.network.ops[index]
            if op.output in self.eaten:
                if self.eaten[op.output] < self.ranges[name][1]:
                    oldest = min(oldest, self.eaten[op.output])
            elif self.next_row[op.output] < self.ranges[op.output][1]:
                row = 0 if self.heights[name] == 1 else self.windows[index].first(self.next_row[op.output])
                oldest = min(oldest, max(row, 0))
        return oldest

    def run(self, before: Callable[[int], None]) -> None:
        """Fire everything; `before(i)` is called ahead of operator i's next row, `before(-1)` ahead of an input row."""
        source = self.network.input if self.network.input in self.next_row else None
        cursor = self.end - 1
        while True:
            while cursor >= self.first and not self.ready(cursor):
                cursor -= 1
            if cursor >= self.first:
                for _ in range(self.rows_due(cursor)):
                    before(cursor)
                    self.fire(cursor)
                cursor = self.jump[cursor]
            elif source and self.next_row[source] < self.ranges[source][1]:
                before(-1)
                self.next_row[source] += 1
                cursor = self.source_jump
            else:
                return

    def unfinished(self) -> list[str]:
        """Tensors whose rows did not all get computed: empty, or the plan is wrong."""
        return [name for name, row in self.next_row.items() if row < self.ranges[name][1]]


def simulate(
    graph: Graph, first: int, end: int, rows: Mapping[str, RowRange], source: bool, batches: Mapping[int, int],
    trace: Trace | None = None,
) -> Rings:  # fmt: skip
    """Rings of the step [first, end). `trace(push, i, row)` is called ahead of every row written.

    A ring holds a multiple of the rows that its operators compute at once, so that these never wrap around.

    Raises RuntimeError when rows stay uncomputed, which only a wrong plan can cause.
    """
    push = Push(graph, first, end, rows, source, batches)
    ops = graph.network.ops
    made_here = list(push.next_row)
    ring = dict.fromkeys(made_here, 1)
    span = {
        name: (graph.producer[name], max((c for c in graph.consumers[name] if c < end), default=end))
        for name in made_here
    }
    occupied: set[str] = set()  # one-row rings that hold a row still wanted
    disturbed: dict[str, int] = {}

    def before(index: int) -> None:
        output = ops[index].output if index >= 0 else graph.network.input
        for name in tuple(occupied):
            if push.oldest_needed(name, graph.consumers[name]) >= push.next_row[name]:
                occupied.discard(name)
            elif not span[name][0] <= index <= span[name][1]:
                disturbed[name] = min(index, disturbed.get(name, DONE))
        if output in push.eaten:
            return
        row = push.next_row[output]
        oldest = push.oldest_needed(output, graph.consumers[output])
        if oldest <= row:
            ring[output] = max(ring[output], row - oldest + 1)
        if ring[output] == 1 and disturbed.get(output, DONE) > span[output][0]:
            occupied.add(output)
        if trace:
            trace(push, index, row)

    push.run(before)
    if missing := push.unfinished():
        raise RuntimeError(f"operators {first}..{end - 1}: rows of {missing} are never computed; the plan is wrong")
    for name in ring:
        together = math.lcm(*(batches.get(i, 1) for i in (graph.producer[name], *graph.consumers[name])))
        ring[name] = -(-ring[name] // together) * together
    return Rings(ring, disturbed)
