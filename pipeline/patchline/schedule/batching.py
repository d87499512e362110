"""Several rows of a narrow map in one kernel call, where that needs no memory that is not free anyway.

The convolution kernels share a weight between up to four pixels of a row, so a row of six costs two blocks of three.
To a 1x1 convolution it does not matter where a row ends: rows that lie one behind the other are one long row, and two
rows of six are three blocks of four. The rows must be there together, which takes larger rings; only what lies below
the schedule's peak is spent on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from patchline.network.ir import Conv, Op
from patchline.schedule.geometry import Graph
from patchline.schedule.occupancy import Occupancies, Occupancy
from patchline.schedule.plan import Segment

MOST_ROWS = 255  # the executor's table holds a byte
CYCLES_A_PAIR = 60  # of output channels and block of pixels, beside the products (docs/performance.md)


def batched(occupancies: Occupancies, segments: Sequence[Segment], arena_bytes: int) -> tuple[Segment, ...]:
    """`segments` with `rows_at_once` set wherever it saves blocks of pixels, the peak of activations does not grow, and
    what has to be placed stays within `arena_bytes`.

    All operators begin with their best batch. Where a step gets too large, the batch goes down that costs the least
    for the bytes it frees, and in the end each goes up again as far as there is room after all.
    """
    before = occupancies.of(segments)
    peak, room = max(before.activations), max(arena_bytes, *before.placed)
    choices = {i: found for segment in segments for i, found in _choices(occupancies.graph, segment).items()}
    chosen = dict.fromkeys(choices, 0)
    steps = [range(*step) for segment in segments for step in segment.steps]

    def over() -> set[int]:
        """Operators that would need too much."""
        needs = occupancies.of(_with(segments, choices, chosen))
        found = enumerate(zip(needs.activations, needs.placed, strict=True))
        return {i for i, (activations, placed) in found if activations > peak or placed > room}

    def loss_per_byte(i: int) -> float:
        now, smaller = choices[i][chosen[i]], choices[i][chosen[i] + 1]
        return (smaller.cycles - now.cycles) / (now.bytes - smaller.bytes)

    while too_much := over():
        lower = [i for i in choices if chosen[i] + 1 < len(choices[i])]
        near = [i for step in steps if too_much & set(step) for i in step if i in lower]
        chosen[min(near or lower, key=loss_per_byte)] += 1
    for i, place in chosen.items():
        for better in range(place):
            chosen[i] = better
            if not over():
                break
            chosen[i] = place
    return _with(segments, choices, chosen)


def with_one_batch_less(segments: Sequence[Segment], needs: Occupancy) -> tuple[Segment, ...]:
    """`segments` without the last batch of the one that is the hardest to place: the fullest of those that have any."""
    fullest = max((s for s in segments if s.batches), key=lambda s: max(needs.placed[s.first_op : s.end_op]))
    drop = max(fullest.batches)
    rows = tuple(1 if fullest.first_op + i == drop else n for i, n in enumerate(fullest.rows_at_once))
    return tuple(replace(s, rows_at_once=rows) if s == fullest else s for s in segments)


class Choice(NamedTuple):
    """Rows at once, about the cycles that the operator takes with them, about the bytes of the rows."""

    rows: int
    cycles: int
    bytes: int


def rows_of_calls(low: int, high: int, batch: int) -> list[int]:
    """Rows of each call that together compute rows [low, high)."""
    edges = [low, *range((low // batch + 1) * batch, high, batch), high]
    return [b - a for a, b in pairwise(edges) if b > a]


def _choices(graph: Graph, segment: Segment) -> dict[int, list[Choice]]:
    """Per operator that may compute several rows at once: from the quickest choice to the one with a single row, each
    slower and smaller than the one before."""
    if segment.tile_rows * segment.tile_cols > 1:
        return {}
    ranges = {r.tensor: r for r in segment.ranges}
    found = {}
    for i in range(segment.first_op, segment.end_op):
        op = graph.network.ops[i]
        source, output = (graph.network.tensors[name] for name in (op.inputs[0], op.output))
        if not _may_batch(graph, op) or any(ranges[n].cols[0] != (0, output.width) for n in (*op.inputs, op.output)):
            continue
        low, high = ranges[op.output].rows[0]
        row_bytes = output.width * (source.channels + output.channels)
        a_block = output.channels * (CYCLES_A_PAIR + source.channels) // 2
        kept: list[Choice] = []
        for rows in range(1, min(max(1, high - low), MOST_ROWS) + 1):
            blocks = sum(graph.kernels[i].passes(n * output.width) for n in rows_of_calls(low, high, rows))
            if not kept or blocks * a_block < kept[0].cycles:
                kept.insert(0, Choice(rows, blocks * a_block, rows * row_bytes))
        if len(kept) > 1:
            found[i] = kept
    return found


def _with(
    segments: Sequence[Segment], choices: Mapping[int, Sequence[Choice]], chosen: Mapping[int, int]
) -> tuple[Segment, ...]:
    """`segments` with the chosen one of every operator's choices."""
    rows = {i: choices[i][place].rows for i, place in chosen.items()}
    return tuple(
        replace(segment, rows_at_once=tuple(rows.get(i, 1) for i in range(segment.first_op, segment.end_op)))
        for segment in segments
    )


def _may_batch(graph: Graph, op: Op) -> bool:
    """A 1x1 convolution that makes one pixel of each of its input's, of which a row has more than one."""
    if not isinstance(op, Conv) or graph.network.input in op.inputs or op.weights.shape[1:3] != (1, 1):
        return False
    source, output = (graph.network.tensors[name] for name in (op.inputs[0], op.output))
    plain = tuple(op.stride) == (1, 1) and tuple(op.pad) == (0, 0)
    return plain and source.shape[:2] == output.shape[:2] and output.width > 1
