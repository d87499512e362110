"""Places buffers with lifetimes into one arena so that nothing that lives at the same time collides.

Offline dynamic storage allocation is NP-hard. A greedy fit from both ends of the arena, with an order that learns from
its failures (squeaky-wheel optimisation, Joslin and Clements 1999), reaches the lower bound (maximum of live bytes) on
nearly all networks. What it does not reach is reported, never hidden.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from patchline.schedule.memory import ALIGNMENT, aligned
from patchline.schedule.plan import Buffer, Overlap

ATTEMPTS = 600
PATIENCE = (60, ATTEMPTS)  # with fresh starts, then in one go: neither is the better one on all networks
NO_LIMIT = 1 << 40


def place(buffers: Sequence[Buffer], overlaps: Iterable[Overlap], lower_bound: int) -> tuple[tuple[Buffer, ...], int]:
    """Buffers with offsets (multiples of 4), in their given order, and the arena's size. Deterministic."""
    if not buffers:
        return (), 0
    conflicts = _conflicts(buffers, {(o.output, o.input): o.distance for o in overlaps})
    sizes = [aligned(b.bytes) for b in buffers]
    order = sorted(range(len(buffers)), key=lambda i: -sizes[i] * (1 + buffers[i].last_op - buffers[i].first_op))
    best, _ = _fit(sizes, order, set(), conflicts, NO_LIMIT)
    order = sorted(order, key=lambda i: -sizes[i])
    for patience in PATIENCE:
        best = _improved(best, sizes, order, conflicts, lower_bound, patience)
    return tuple(replace(b, offset=offset) for b, offset in zip(buffers, best, strict=True)), _extent(best, sizes)


def _improved(
    best: list[int], sizes: Sequence[int], order: list[int], conflicts: list[list[tuple[int, int, int]]],
    lower_bound: int, patience: int,
) -> list[int]:  # fmt: skip
    """Offsets that reach less far than `best`, if such are found; a fresh order after every `patience` attempts."""
    best_size = _extent(best, sizes)
    rng = random.Random(0)
    order = list(order)
    high: set[int] = set()
    for attempt in range(ATTEMPTS):
        if best_size <= lower_bound:
            break
        # aim at the bound first, then at ever smaller improvements
        share = (0.0, 0.1, 0.3, 0.6, 1.0)[min(4, 5 * attempt // ATTEMPTS)]
        limit = min(
            best_size - ALIGNMENT, lower_bound + int(share * (best_size - lower_bound)) // ALIGNMENT * ALIGNMENT
        )
        offsets, failed = _fit(sizes, order, high, conflicts, limit)
        if failed is None:
            best, best_size = offsets, _extent(offsets, sizes)
            continue
        # whoever did not fit chooses earlier next time, perhaps from the other end ("squeaky wheel")
        position = order.index(failed)
        order.insert(rng.randint(0, position // 2), order.pop(position))
        high ^= {failed if rng.random() < 0.5 else order[rng.randrange(min(len(order), position + 1))]}
        if attempt % patience == patience - 1:
            order = sorted(order, key=lambda i: -sizes[i] * rng.uniform(0.7, 1.3))
            high = {i for i in order if rng.random() < 0.3}
    return best


def _extent(offsets: Sequence[int], sizes: Sequence[int]) -> int:
    return max(offset + size for offset, size in zip(offsets, sizes, strict=True))


def _conflicts(buffers: Sequence[Buffer], distance: dict[tuple[str, str], int]) -> list[list[tuple[int, int, int]]]:
    """Per buffer i: (j, below, above), meaning that offset_i must be <= offset_j - below or >= offset_j + above."""
    table: list[list[tuple[int, int, int]]] = [[] for _ in buffers]
    for i, a in enumerate(buffers):
        for j, b in enumerate(buffers):
            if i == j or a.last_op < b.first_op or b.last_op < a.first_op:
                continue
            below, above = aligned(a.bytes), aligned(b.bytes)
            if a.kind == b.kind == "tensor":
                if (a.name, b.name) in distance:  # a is the output over the dying input b
                    below = aligned(distance[a.name, b.name])
                elif (b.name, a.name) in distance:
                    above = aligned(distance[b.name, a.name])
            table[i].append((j, below, above))
    return table


def _fit(
    sizes: Sequence[int], order: Sequence[int], high: set[int], conflicts: list[list[tuple[int, int, int]]], limit: int
) -> tuple[list[int], int | None]:
    """Offsets below `limit`, chosen in `order`: the lowest free place, for buffers in `high` the highest. The second
    value is the first buffer that found no place, if any."""
    offsets = [-1] * len(sizes)
    for i in order:
        # open intervals in which buffer i must not start
        forbidden = sorted(
            (offsets[j] - below, offsets[j] + above) for j, below, above in conflicts[i] if offsets[j] >= 0
        )
        offset = _highest(forbidden, limit - sizes[i]) if i in high else _lowest(forbidden)
        if offset < 0 or offset + sizes[i] > limit:
            return offsets, i
        offsets[i] = offset
    return offsets, None


def _lowest(forbidden: Sequence[tuple[int, int]]) -> int:
    offset = 0
    for lo, hi in forbidden:
        if offset <= lo:
            break
        offset = max(offset, hi)
    return offset


def _highest(forbidden: Sequence[tuple[int, int]], start: int) -> int:
    """The greatest allowed offset up to `start`; negative when there is none."""
    offset = start
    for lo, hi in sorted(forbidden, key=lambda interval: -interval[1]):
        if offset >= hi:
            break
        offset = min(offset, lo)
    return offset
