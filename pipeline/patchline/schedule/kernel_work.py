"""What a schedule has its kernels execute: row calls, and the terms that their cycles consist of.

A call is one output row of one tile or, of a 1x1 convolution, several: strips and patches, which call more often on
fewer columns and compute some of them twice, are counted from their tile ranges. The terms follow the kernels in
firmware_template/src/kernels: blocks of pixels, tails, what is gathered. `latency` weighs them with measured figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from patchline.network.ir import (
    Add,
    Conv,
    Depthwise,
    GlobalPool,
    Network,
    Op,
    Pool,
    Requant,
    Resize,
    Softmax,
    Window,
)
from patchline.schedule.batching import rows_of_calls
from patchline.schedule.kernels import chunks, conv_kernel, output_blocks, pixel_blocks
from patchline.schedule.plan import Segment

SCALE_BYTES = 8  # bias and multiplier of a channel
GATHERED = ("depthwise_5", "depthwise_7")  # kernels that gather the columns of a chunk of outputs in scratch

Terms = tuple[float, ...]


class Kernel(NamedTuple):
    """What decides the cycles of one row call beside its columns; equal for many operators, hence hashable.

    `inputs`: bytes of one window as the kernel reads it (padded to words), `pairs`: pairs of output channels.
    """

    name: str
    rule: str
    channels: int
    inputs: int
    pairs: int
    flash_bytes: int  # weights and constants that a pass reads
    stride: int = 1


class Strip(NamedTuple):
    """Columns of a row call: how many it computes, of how many the window leaves the map, how many it reads."""

    columns: int
    edge: int
    read: int


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


def kernel_of(network: Network, op: Op) -> Kernel:
    """The kernel that runs `op`, as far as its cycles depend on it."""
    source, output = network.tensors[op.inputs[0]], network.tensors[op.output]
    channels = output.channels
    if isinstance(op, Conv):
        _, height, width, _ = op.weights.shape
        inputs = height * (-(-width * source.channels // 4) * 4)
        pairs = -(-channels // 2)
        rule, flash = _rule(op.requant, op.clamp), 2 * pairs * (inputs + SCALE_BYTES)
        return Kernel(conv_kernel(op, source, output), rule, channels, inputs, pairs, flash)
    if isinstance(op, Depthwise):
        height, width, _ = op.weights.shape
        special = height == width and width in (3, 5, 7) and op.stride[1] in (1, 2)
        name = f"depthwise_{width}s{op.stride[1]}" if special else "depthwise"
        held = 12 if (height, width) == (3, 3) else (height + 1) // 2 * ((width + 1) // 2) * 4
        rule = _rule(op.requant, op.clamp)
        return Kernel(name, rule, channels, height * width, channels, channels * (held + SCALE_BYTES), op.stride[1])
    if isinstance(op, Pool):
        rule = _rule(op.requant, op.clamp) if op.kind == "average" else "single"
        return Kernel(f"{op.kind}_pool", rule, channels, op.kernel[0] * op.kernel[1], channels, 0)
    if isinstance(op, GlobalPool):
        return Kernel("global_pool", _rule(op.requant, op.clamp), channels, 1, channels, 0)
    if isinstance(op, Resize):
        size = op.rows.kernel
        name = "resize" if channels != 3 else "resize_2x2" if size == 2 else "resize_rgb"
        return Kernel(name, "single", channels, size * size, channels, 2 * op.up * size)
    rule = op.rule if isinstance(op, Add) else "single"
    table = 1024 if isinstance(op, Softmax) else 0
    return Kernel(type(op).__name__.lower(), rule, channels, len(op.inputs), channels, table)


def _rule(requant: Requant | None, clamp: tuple[int, int]) -> str:
    """`single` and `tflite` have short ways in the kernels; `slow` is everything else (`division`: no constants)."""
    if requant is None:
        return "division"
    if clamp != (-128, 127) or requant.rule == "tflite_once":
        return "slow"
    shifts = requant.shifts
    if requant.rule == "single":
        return "slow" if shifts.any() else "single"
    short = (shifts < 0).all() and (shifts >= -22).all() and (requant.multipliers >= 0).all()
    return "tflite" if bool(short) else "slow"


def work(kernel: Kernel, calls: Calls) -> Terms:
    """The terms that the cycles of an operator consist of, summed over its row calls."""
    total: list[float] = []
    for strip, inside, times in calls.each:
        terms = terms_of_row(kernel, strip, inside, calls.height)
        total = [a + times * b for a, b in zip(total or [0.0] * len(terms), terms, strict=True)]
    return tuple(total)


def terms_of_row(kernel: Kernel, strip: Strip, inside: int, height: int) -> Terms:
    """The terms of one row call; `inside` of the `height` rows of its window lie in the map."""
    channels, inputs, pairs = kernel.channels, kernel.inputs, kernel.pairs
    columns, edge, _ = strip
    border = int(inside < height)
    values = channels * columns
    if kernel.name == "dense":
        return (1, inputs, pairs, pairs * inputs)
    if kernel.name in ("pointwise", "window"):
        terms: list[float] = [1]
        for blocks in pixel_blocks(columns):
            terms += [blocks, blocks * inputs, blocks * pairs, blocks * pairs * inputs]
        if kernel.name == "window":
            odd = columns if border else edge  # windows that leave the map are gathered piece by piece
            terms += [odd, odd * inputs]
        return tuple(terms)
    if kernel.name.startswith(GATHERED):
        return _terms_of_gathering(kernel, strip, inside, height)
    if kernel.name.startswith("depthwise"):
        halves = channels * -(-columns // 2)
        return (1, channels, values, halves, channels * edge, border, border * channels, border * values)
    return (1, channels, columns, values, values * inputs, channels * edge, border * values)


def _terms_of_gathering(kernel: Kernel, strip: Strip, inside: int, height: int) -> Terms:
    """As `depthwise_dsp.c` works: chunks of outputs; their columns are gathered, then come blocks of five or three."""
    walked = chunks(strip.columns)
    needed = sum((outputs - 1) * kernel.stride + height for outputs in walked)
    unread = (strip.columns - 1) * kernel.stride + height - strip.read  # beyond the map, on both sides
    blocks = [block for outputs in walked for block in output_blocks(outputs)]
    fives, threes = blocks.count(5), blocks.count(3)
    channels, row_pairs = kernel.channels, (inside + 1) // 2
    starts, gathered = channels * len(walked), channels * (needed - unread)
    return (
        1, len(walked), needed, starts, starts * inside, starts * (height - inside), gathered, gathered * inside,
        channels * fives, channels * fives * row_pairs, channels * threes, channels * threes * row_pairs,
    )  # fmt: skip


def passes(kernel: Kernel, columns: int) -> int:
    """How often a row call reads all of the kernel's constants."""
    if kernel.name in ("pointwise", "window"):
        return sum(pixel_blocks(columns))
    return len(chunks(columns)) if kernel.name.startswith(GATHERED) else 1
