"""Places buffers with lifetimes into one arena so that nothing that lives at the same time collides.

Offline dynamic storage allocation is NP-hard; first-fit over a few orders, then over seeded perturbations of the best, reaches the
lower bound (maximum of live bytes) on nearly all networks. What it does not reach is reported, never hidden.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from patchline.schedule.memory import ALIGNMENT, aligned
from patchline.schedule.plan import Buffer, Overlap

RESTARTS = 300


def place(buffers: Sequence[Buffer], overlaps: Iterable[Overlap], lower_bound: int) -> tuple[tuple[Buffer, ...], int]:
    """Buffers with offsets (multiples of 4), in their given order, and the arena's size. Deterministic."""
    if not buffers:
        return (), 0
    conflicts = _conflicts(buffers, {(o.output, o.input): o.distance for o in overlaps})
    by_size = sorted(range(len(buffers)), key=lambda i: (-buffers[i].bytes, buffers[i].first_op))
    by_area = sorted(by_size, key=lambda i: -buffers[i].bytes * (1 + buffers[i].last_op - buffers[i].first_op))
    by_start = sorted(by_size, key=lambda i: buffers[i].first_op)
    by_length = sorted(by_size, key=lambda i: buffers[i].first_op - buffers[i].last_op)
    # the buffers alive at the tightest moment first: if those fit the bound, the rest usually falls into the gaps
    peak = _peak_moment(buffers)
    by_peak = sorted(by_size, key=lambda i: not buffers[i].first_op <= peak <= buffers[i].last_op)
    best_order, best, best_size = by_size, [0] * len(buffers), 1 << 60
    for order in (by_size, by_area, by_start, by_length, by_peak):
        offsets, size = _first_fit(buffers, order, conflicts)
        if size < best_size:
            best_order, best, best_size = order, offsets, size
    rng = random.Random(0)
    for _ in range(RESTARTS):
        if best_size <= lower_bound:
            break
        order = list(best_order)
        for _ in range(rng.randint(1, 3)):
            i, j = rng.randrange(len(order)), rng.randrange(len(order))
            order.insert(j, order.pop(i))
        offsets, size = _first_fit(buffers, order, conflicts)
        if size <= best_size:
            best_order, best, best_size = order, offsets, size
    return tuple(replace(b, offset=offset) for b, offset in zip(buffers, best, strict=True)), best_size


def _peak_moment(buffers: Sequence[Buffer]) -> int:
    moments = {b.first_op for b in buffers}
    return max(sorted(moments), key=lambda t: sum(b.bytes for b in buffers if b.first_op <= t <= b.last_op))


def _conflicts(buffers: Sequence[Buffer], distance: dict[tuple[str, str], int]) -> list[list[tuple[int, int, int]]]:
    """Per buffer i: (j, below, above), meaning that offset_i must be <= offset_j - below or >= offset_j + above."""
    tensors = ("tensor", "input")
    table: list[list[tuple[int, int, int]]] = [[] for _ in buffers]
    for i, a in enumerate(buffers):
        for j, b in enumerate(buffers):
            if i == j or a.last_op < b.first_op or b.last_op < a.first_op:
                continue
            below, above = aligned(a.bytes), aligned(b.bytes)
            if a.kind in tensors and b.kind in tensors:
                if (a.name, b.name) in distance:  # a is the output over the dying input b
                    below = _up(distance[a.name, b.name])
                elif (b.name, a.name) in distance:
                    above = _up(distance[b.name, a.name])
            table[i].append((j, below, above))
    return table


def _up(distance: int) -> int:
    return -(-distance // ALIGNMENT) * ALIGNMENT


def _first_fit(
    buffers: Sequence[Buffer], order: Sequence[int], conflicts: list[list[tuple[int, int, int]]]
) -> tuple[list[int], int]:
    offsets = [-1] * len(buffers)
    size = 0
    for i in order:
        forbidden = sorted(
            (offsets[j] - below, offsets[j] + above) for j, below, above in conflicts[i] if offsets[j] >= 0
        )
        offset = 0
        for lo, hi in forbidden:  # open intervals
            if lo < offset < hi:
                offset = hi
            elif offset <= lo:
                break
        offsets[i] = offset
        size = max(size, offset + aligned(buffers[i].bytes))
    return offsets, size
