"""Predicted cycles of a schedule, from figures measured on the kernels themselves.

`kernel_cycles.json` beside this module holds, per core, kernel and requantisation rule, how the cycles of its row calls
depend on their shape: non-negative weights of the terms that `work` counts (calls, blocks of four pixels and tails
times channels, products, ...). `make bench-kernels STORE=1` measures the kernels in the emulator and writes it afresh.

A call is one output row of one tile, so that strips and patches, which call more often on fewer columns and compute
some of them twice, are priced from their tile ranges. Waiting for flash is counted apart, in lines that are fetched,
because it depends on the board's caches and wait states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from patchline.errors import UserError
from patchline.files import read_json
from patchline.network.ir import (
    Add,
    Conv,
    Depthwise,
    GlobalPool,
    Network,
    Op,
    Pool,
    Requant,
    Softmax,
    Window,
)
from patchline.schedule.costs import CODE_BYTES
from patchline.schedule.plan import Segment
from patchline.targets import Target, Timing

FIGURES = Path(__file__).parent / "kernel_cycles.json"
RUNTIME = "runtime"  # the executor around the kernels
SCALE_BYTES = 8  # bias and multiplier of a channel
COLUMNS_PER_PASS = {"pointwise": 4, "window": 4, "depthwise_5": 16, "depthwise_7": 16}  # over all weights; others: all

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


@dataclass(frozen=True)
class Calls:
    """Row calls of one operator in one inference: `rows` per strip, of which `border` have rows outside the map.

    `strips`: (columns, of these with columns outside the map) of every strip; `tiles` is how often the operator starts
    afresh, and `shared` tells that other operators fire between two of its rows.
    """

    rows: int
    border: int
    strips: tuple[tuple[int, int], ...]
    tiles: int
    shared: bool

    @property
    def count(self) -> int:
        return self.rows * len(self.strips)


def predicted_cycles(network: Network, segments: Sequence[Segment], target: Target) -> float:
    """Estimated cycles of one inference of `network` walked as `segments` say, waiting for flash included."""
    core = figures(target.core)
    kernels = [kernel_of(network, op) for op in network.ops]
    executor, total = Executor(), 0.0
    for segment in segments:
        called = calls_of(network, segment)
        executor.add(segment, called)
        sizes = step_bytes(kernels, segment)
        total += sum(_op_cycles(kernels[i], calls, sizes[i], target, core) for i, calls in called.items())
    return total + _weighted(core[RUNTIME], executor.terms)


def figures(core: str) -> dict[str, Any]:
    """The measured weights of a core. Raises UserError where there are none."""
    found = _stored()["cores"].get(core)
    if found is None:
        raise UserError(f"{FIGURES.name} has no figures for {core}: measure its kernels with `make bench-kernels`")
    return dict(found)


def figures_version() -> dict[str, str]:
    """The cycle model, by core, under which the figures were measured."""
    return dict(_stored()["cycle_models"])


@cache
def _stored() -> dict[str, Any]:
    return dict(read_json(FIGURES))


# --- what is executed ------------------------------------------------------------------------------------------------


def calls_of(network: Network, segment: Segment) -> dict[int, Calls]:
    """The row calls of every operator of a segment."""
    ranges = {r.tensor: r for r in segment.ranges}
    found = {}
    for step in segment.steps:
        for index in range(*step):
            op = network.ops[index]
            walked = op.inputs[0] if isinstance(op, GlobalPool) else op.output
            source = network.tensors[op.inputs[0]]
            rows, border = _extent(ranges[walked].rows, op.rows, source.height)
            strips = tuple(
                (hi - lo, _outside(lo, hi, op.cols, source.width)) for lo, hi in ranges[walked].cols if hi > lo
            )
            tiles = segment.tile_rows * segment.tile_cols
            found[index] = Calls(rows, border, strips, tiles, step[1] - step[0] > 1)
    return found


def _extent(ranges: Sequence[tuple[int, int]], window: Window, size: int) -> tuple[int, int]:
    return sum(max(0, hi - lo) for lo, hi in ranges), sum(_outside(lo, hi, window, size) for lo, hi in ranges)


def _outside(lo: int, hi: int, window: Window, size: int) -> int:
    """How many of the positions [lo, hi) have a window that reaches beyond [0, size)."""
    if window.kernel == 1 or hi <= lo:
        return 0
    first = -(-window.pad * window.up // window.stride)  # the first position whose window begins inside
    last = (size - window.kernel + window.pad) * window.up // window.stride  # the last one whose window ends inside
    return (hi - lo) - max(0, min(hi, last + 1) - max(lo, first))


@dataclass
class Executor:
    """What the runtime around the kernels has to do: kernel calls in steps of one operator, in longer ones, steps."""

    alone: int = 0
    shared: int = 0
    steps: int = 0

    def add(self, segment: Segment, called: Mapping[int, Calls]) -> None:
        self.steps += len(segment.steps) * segment.tile_rows * segment.tile_cols
        self.alone += sum(calls.count for calls in called.values() if not calls.shared)
        self.shared += sum(calls.count for calls in called.values() if calls.shared)

    @property
    def terms(self) -> Terms:
        return (self.alone, self.shared, self.steps)


def step_bytes(kernels: Sequence[Kernel], segment: Segment) -> dict[int, int]:
    """Per operator: the constants that all operators of its step read."""
    found: dict[int, int] = {}
    for first, end in segment.steps:
        found |= dict.fromkeys(range(first, end), sum(kernel.flash_bytes for kernel in kernels[first:end]))
    return found


# --- kernels and the terms of their cost -----------------------------------------------------------------------------


def kernel_of(network: Network, op: Op) -> Kernel:
    """The kernel that runs `op`, as far as its cycles depend on it."""
    source, output = network.tensors[op.inputs[0]], network.tensors[op.output]
    channels = output.channels
    if isinstance(op, Conv):
        _, height, width, _ = op.weights.shape
        inputs = height * (-(-width * source.channels // 4) * 4)
        pairs = -(-channels // 2)
        name = "window"
        if op.pad == (0, 0) and output.width == 1:
            name = "dense"
        elif op.pad == (0, 0) and height == width == 1:
            name = "pointwise"
        return Kernel(name, _rule(op.requant, op.clamp), channels, inputs, pairs, 2 * pairs * (inputs + SCALE_BYTES))
    if isinstance(op, Depthwise):
        height, width, _ = op.weights.shape
        special = height == width and width in (3, 5, 7) and op.stride[1] in (1, 2)
        name = f"depthwise_{width}s{op.stride[1]}" if special else "depthwise"
        held = 12 if (height, width) == (3, 3) else (height + 1) // 2 * ((width + 1) // 2) * 4
        rule = _rule(op.requant, op.clamp)
        return Kernel(name, rule, channels, height * width, channels, channels * (held + SCALE_BYTES))
    if isinstance(op, Pool):
        rule = _rule(op.requant, op.clamp) if op.kind == "average" else "single"
        return Kernel(f"{op.kind}_pool", rule, channels, op.kernel[0] * op.kernel[1], channels, 0)
    if isinstance(op, GlobalPool):
        return Kernel("global_pool", _rule(op.requant, op.clamp), channels, 1, channels, 0)
    rule = op.rule if isinstance(op, Add) else "single"
    flash = 1024 if isinstance(op, Softmax) else 0
    return Kernel(type(op).__name__.lower(), rule, channels, len(op.inputs), channels, flash)


def _rule(requant: Requant | None, clamp: tuple[int, int]) -> str:
    """`single` and `tflite` have short ways in the kernels; `slow` is everything else (`division`: no constants)."""
    if requant is None:
        return "division"
    if clamp != (-128, 127) or requant.rule == "tflite_once":
        return "slow"
    shifts = requant.shifts
    if requant.rule == "single":
        return "slow" if shifts.any() else "single"
    return "tflite" if bool((shifts < 0).all()) and bool((shifts >= -22).all()) else "slow"


def work(kernel: Kernel, calls: Calls) -> Terms:
    """The terms that the cycles of an operator consist of, summed over its row calls."""
    total: list[float] = []
    for columns, edge in calls.strips:
        inner = calls.rows - calls.border
        for rows, border in ((inner, 0), (calls.border, 1)):
            if rows:
                terms = _terms(kernel, columns, edge, border)
                total = [a + rows * b for a, b in zip(total or [0.0] * len(terms), terms, strict=True)]
    return tuple(total)


def _terms(kernel: Kernel, columns: int, edge: int, border: int) -> Terms:
    channels, inputs, pairs = kernel.channels, kernel.inputs, kernel.pairs
    if kernel.name == "dense":
        return (1, inputs, pairs, pairs * inputs)
    if kernel.name in ("pointwise", "window"):
        terms: list[float] = [1]
        for size in (4, 3, 2, 1):
            blocks = columns // 4 if size == 4 else int(columns % 4 == size)
            terms += [blocks, blocks * inputs, blocks * pairs, blocks * pairs * inputs]
        if kernel.name == "window":
            odd = columns if border else edge  # windows that reach over the map's edge are gathered piece by piece
            terms += [odd, odd * inputs]
        return tuple(terms)
    values = channels * columns
    if kernel.name.startswith("depthwise"):
        parts = [channels * -(-columns // size) for size in (2, 4, 16)]  # of 2, 4 and 16 outputs
        return (1, channels, values, *parts, channels * edge, border, border * channels, border * values)
    return (1, channels, columns, values, values * inputs, channels * edge, border * values)


def flash_lines(kernel: Kernel, calls: Calls, step_bytes: int, timing: Timing) -> Terms:
    """Terms of the lines fetched from flash: code of every call, of those with a tail and at the border; data of every
    pass over the weights, of every call and of every tile, as far as they do not stay in the cache."""
    line = timing.flash_line_bytes
    widths = [columns for columns, _ in calls.strips]
    keeps_code = timing.instruction_cache_bytes >= CODE_BYTES
    code = 0.0 if keeps_code else 1 / line
    tails = sum(1 for columns in widths if columns % 4)
    data = kernel.flash_bytes / line
    reach = next((n for prefix, n in COLUMNS_PER_PASS.items() if kernel.name.startswith(prefix)), 1 << 16)
    each_pass = each_call = each_tile = 0.0
    if kernel.flash_bytes > timing.data_cache_bytes:
        each_pass = calls.rows * sum(-(-columns // reach) for columns in widths) * data
    elif calls.shared and step_bytes > timing.data_cache_bytes:
        each_call = calls.count * data
    else:
        each_tile = calls.tiles * data
    border = calls.border * len(widths)
    return (calls.count * code, calls.rows * tails * code, border * code, each_pass, each_call, each_tile)


# --- pricing ---------------------------------------------------------------------------------------------------------


def _op_cycles(kernel: Kernel, calls: Calls, step_bytes: int, target: Target, core: dict[str, Any]) -> float:
    weights = _weights(core, kernel)
    cycles = sum(
        (calls.rows - calls.border) * _row_cycles(target.core, kernel, columns, edge, 0)
        + calls.border * _row_cycles(target.core, kernel, columns, edge, 1)
        for columns, edge in calls.strips
    )
    if target.timing.flash_wait_states:
        lines = _weighted(weights["lines"], flash_lines(kernel, calls, step_bytes, target.timing))
        cycles += lines * target.timing.flash_wait_states
    return cycles


@lru_cache(maxsize=65536)
def _row_cycles(core: str, kernel: Kernel, columns: int, edge: int, border: int) -> float:
    return _weighted(_weights(figures(core), kernel)["cycles"], _terms(kernel, columns, edge, border))


def _weights(core: dict[str, Any], kernel: Kernel) -> dict[str, Any]:
    """The kernel's weights; those of another rule where its own was not measured."""
    rules = core["kernels"].get(kernel.name)
    if rules is None:
        raise UserError(f"{FIGURES.name} has no figures for kernel '{kernel.name}': run `make bench-kernels STORE=1`")
    for rule in (kernel.rule, "tflite", "single"):
        if rule in rules:
            return dict(rules[rule])
    return dict(next(iter(rules.values())))


def _weighted(weights: Sequence[float], terms: Terms) -> float:
    return sum(w * t for w, t in zip(weights, terms, strict=True))
