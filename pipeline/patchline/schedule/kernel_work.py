"""What a schedule has its kernels execute: row calls, and the terms that their cycles consist of.

A call is one output row of one tile or, of a 1x1 convolution, several: strips and patches, which call more often on
fewer columns and compute some of them twice, are counted from their tile ranges. The terms of a call are its kernel's
affair (`KernelChoice.terms`). `latency` weighs them with measured figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from patchline.cores.armv7em.kernels import KernelChoice, Strip, Terms
from patchline.network.ir import GlobalPool, Network, Window
from patchline.schedule.batching import rows_of_calls
from patchline.schedule.plan import Segment


class Call(NamedTuple):
    """Equal row calls, `times` of them; `inside` of the rows of their window lie in the map."""

    strip: Strip
    inside: int
    times: int


@dataclass(frozen=True)
class Calls:
    """Row calls of one operator in one inference.

    `height` is the window's. `tiles` is how often the operator starts afresh, and `shared` tells that other operators
    fire between two of its calls.
    """

    each: tuple[Call, ...]
    height: int
    tiles: int
    shared: bool

    @property
    def border(self) -> int:
        """Calls whose window leaves the map above or below."""
        return sum(call.times for call in self.each if call.inside < self.height)

    @property
    def count(self) -> int:
        return sum(call.times for call in self.each)


def calls_of(network: Network, segment: Segment) -> dict[int, Calls]:
    """The row calls of every operator of a segment."""
    ranges = {r.tensor: r for r in segment.ranges}
    tiles = segment.tile_rows * segment.tile_cols
    found = {}
    for step in segment.steps:
        for index in range(*step):
            op = network.ops[index]
            walked = op.inputs[0] if isinstance(op, GlobalPool) else op.output
            source = network.tensors[op.inputs[0]]
            rows, cols = op.rows, op.cols
            if batch := segment.batches.get(index):
                width = source.width
                sizes = Counter(rows_of_calls(*ranges[walked].rows[0], batch))
                each = tuple(Call(Strip(n * width, 0, n * width), 1, count) for n, count in sizes.items())
            else:
                strips = [_strip(lo, hi, cols, source.width) for lo, hi in ranges[walked].cols if hi > lo]
                inside = _rows_inside(ranges[walked].rows, rows, source.height)
                each = tuple(Call(strip, *n) for strip in strips for n in inside)
            found[index] = Calls(each, rows.kernel, tiles, step[1] - step[0] > 1)
    return found


def _strip(lo: int, hi: int, window: Window, size: int) -> Strip:
    begin, end = _inner(lo, hi, window, size)
    first, stop = window.input_range(lo, hi, size)
    return Strip(hi - lo, hi - lo - (end - begin), stop - first)


def _rows_inside(ranges: Sequence[tuple[int, int]], window: Window, size: int) -> tuple[tuple[int, int], ...]:
    """How many of the positions have how many cells of their window inside [0, size)."""
    found: dict[int, int] = {}
    for lo, hi in ranges:
        begin, end = _inner(lo, hi, window, size)
        if end > begin:
            found[window.kernel] = found.get(window.kernel, 0) + end - begin
        for y in (*range(lo, begin), *range(end, hi)):
            start, stop = window.input_range(y, y + 1, size)
            found[stop - start] = found.get(stop - start, 0) + 1
    return tuple(found.items())


def _inner(lo: int, hi: int, window: Window, size: int) -> tuple[int, int]:
    """The positions of [lo, hi) whose window lies inside [0, size), as [begin, end); both `lo` where there are none."""
    if window.kernel == 1 and window.pad == 0:
        return lo, hi
    begin = max(lo, -(-window.pad * window.up // window.stride))
    last = size - window.kernel + window.pad  # where the last window inside starts, before padding
    end = min(hi, ((last + 1) * window.up - 1) // window.stride + 1)
    return (begin, end) if end > begin else (lo, lo)


def work(kernel: KernelChoice, calls: Calls) -> Terms:
    """The terms that the cycles of an operator consist of, summed over its row calls."""
    total: list[float] = []
    for strip, inside, times in calls.each:
        terms = kernel.terms(strip, inside, calls.height)
        total = [a + times * b for a, b in zip(total or [0.0] * len(terms), terms, strict=True)]
    return tuple(total)
