"""Predicted cycles of a schedule, from figures measured on the kernels themselves.

`kernel_cycles.json` in the folder of the cores holds, per core, kernel and requantisation rule, how the cycles of its
row calls depend on their shape: non-negative weights of the terms that `kernel_work` counts (calls, blocks of pixels
times channels, products, ...). `make bench-kernels STORE=1` measures the kernels in the emulator and writes it afresh.
Waiting for flash is counted apart, in lines that are fetched, because it depends on the board's caches and wait states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from patchline.cores.armv7em.kernels import FIGURES, KernelChoice, Strip, Terms, choose
from patchline.errors import UserError
from patchline.files import read_json
from patchline.network.ir import Network
from patchline.schedule.costs import CODE_BYTES
from patchline.schedule.kernel_work import Calls, calls_of
from patchline.schedule.plan import Segment
from patchline.targets import Target, Timing

RUNTIME = "runtime"  # the executor around the kernels


def predicted_cycles(network: Network, segments: Sequence[Segment], target: Target) -> float:
    """Estimated cycles of one inference of `network` walked as `segments` say, waiting for flash included."""
    core = figures(target.core)
    kernels = [choose(network, op) for op in network.ops]
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


def step_bytes(kernels: Sequence[KernelChoice], segment: Segment) -> dict[int, int]:
    """Per operator: the constants that all operators of its step read."""
    found: dict[int, int] = {}
    for first, end in segment.steps:
        found |= dict.fromkeys(range(first, end), sum(kernel.flash_bytes for kernel in kernels[first:end]))
    return found


def flash_lines(kernel: KernelChoice, calls: Calls, step_bytes: int, timing: Timing) -> Terms:
    """Terms of the lines fetched from flash: code of every call, of those with a tail and at the border; data of every
    pass over the weights, of every call and of every tile, as far as they do not stay in the cache."""
    line = timing.flash_line_bytes
    code = 0.0 if timing.instruction_cache_bytes >= CODE_BYTES else 1 / line
    tails = sum(call.times for call in calls.each if call.strip.columns % 4)
    data = kernel.flash_bytes / line
    each_pass = each_call = each_tile = 0.0
    if kernel.flash_bytes > timing.data_cache_bytes:
        each_pass = sum(call.times * kernel.passes(call.strip.columns) for call in calls.each) * data
    elif calls.shared and step_bytes > timing.data_cache_bytes:
        each_call = calls.count * data
    else:
        each_tile = calls.tiles * data
    return (calls.count * code, tails * code, calls.border * code, each_pass, each_call, each_tile)


# --- pricing ---------------------------------------------------------------------------------------------------------


def _op_cycles(kernel: KernelChoice, calls: Calls, step_bytes: int, target: Target, core: dict[str, Any]) -> float:
    cycles = sum(
        call.times * _row_cycles(target.core, kernel, call.strip, call.inside, calls.height) for call in calls.each
    )
    if target.timing.flash_wait_states:
        lines = _weighted(_weights(core, kernel)["lines"], flash_lines(kernel, calls, step_bytes, target.timing))
        cycles += lines * target.timing.flash_wait_states
    return cycles


@lru_cache(maxsize=65536)
def _row_cycles(core: str, kernel: KernelChoice, strip: Strip, inside: int, height: int) -> float:
    return _weighted(_weights(figures(core), kernel)["cycles"], kernel.terms(strip, inside, height))


def _weights(core: dict[str, Any], kernel: KernelChoice) -> dict[str, Any]:
    """The kernel's weights; those of another rule where its own was not measured."""
    rules = core["kernels"].get(kernel.name)
    if rules is None:
        raise UserError(f"{FIGURES.name} has no figures for kernel '{kernel.name}': run `make bench-kernels STORE=1`")
    for rule in (kernel.measured_rule, "tflite", "single"):
        if rule in rules:
            return dict(rules[rule])
    return dict(next(iter(rules.values())))


def _weighted(weights: Sequence[float], terms: Terms) -> float:
    return sum(w * t for w, t in zip(weights, terms, strict=True))
