"""From measured kernels to the figures of `patchline.schedule.latency`: least squares with non-negative weights.

Every operator of every measured network is one equation: the terms of its row calls against the cycles that the
emulator counted. Equations weigh by the inverse of their cycles, so that small operators count as much as large ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls  # comes with mlflow

from kernel_measure import Measured
from patchline.cores.armv7em.kernels import FIGURES, Terms, choose
from patchline.files import write_json
from patchline.hil import cycles
from patchline.schedule import kernel_work, latency
from patchline.schedule.latency import Executor

DIGITS = 5  # kept of every weight


@dataclass
class Equations:
    """Terms and cycles of one kernel under one rule, and the same for lines fetched from flash."""

    terms: list[Terms] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    lines: list[Terms] = field(default_factory=list)
    fetched: list[float] = field(default_factory=list)

    def fit(self) -> tuple[list[float], list[float]]:
        """Weights of the terms and of the lines."""
        total = np.array(self.cycles) + 1e-9
        return _fit(self.terms, self.cycles, total), _fit(self.lines, self.fetched, total)

    def errors(self, weights: Sequence[float]) -> NDArray[np.float64]:
        """Relative errors of the predicted cycles, without flash."""
        return np.asarray(self.terms) @ np.asarray(weights) / np.asarray(self.cycles) - 1


@dataclass(frozen=True)
class Quality:
    """How well the weights of one kernel explain what was measured."""

    core: str
    kernel: str
    rule: str
    equations: int
    mean_error: float  # of the absolute relative errors
    worst_error: float


def fit(measured: Iterable[Measured]) -> tuple[dict[str, Any], list[Quality]]:
    """The content of the data file, and how good it is."""
    kernels: dict[str, dict[tuple[str, str], Equations]] = defaultdict(lambda: defaultdict(Equations))
    runtime: dict[str, Equations] = defaultdict(Equations)
    models = {}
    for found in measured:
        core: str = found.target.core
        models[core] = cycles.version(found.target)
        executor = _collect(found, kernels[core])
        runtime[core].terms.append(executor.terms)
        runtime[core].cycles.append(found.runtime.cycles_est)
    cores: dict[str, Any] = {}
    quality = []
    for core, equations in kernels.items():
        table: dict[str, dict[str, Any]] = defaultdict(dict)
        for (name, rule), mine in sorted(equations.items()):
            weights, lines = mine.fit()
            table[name][rule] = {"cycles": weights, "lines": lines}
            errors = np.abs(mine.errors(weights))
            quality.append(Quality(core, name, rule, len(errors), float(errors.mean()), float(errors.max())))
        around = _fit(runtime[core].terms, runtime[core].cycles, np.array(runtime[core].cycles) + 1e-9)
        cores[core] = {latency.RUNTIME: around, "kernels": dict(table)}
    return {"cycle_models": models, "cores": cores}, quality


def store(data: dict[str, Any]) -> None:
    write_json(FIGURES, data)


def _collect(found: Measured, into: dict[tuple[str, str], Equations]) -> Executor:
    """Add the equations of all operators; what the executor did comes back."""
    timing, executor = found.target.timing, Executor()
    kernels = [choose(found.network, op) for op in found.network.ops]
    for segment in found.plan.segments:
        sizes = latency.step_bytes(kernels, segment)
        called = kernel_work.calls_of(found.network, segment)
        executor.add(segment, called)
        for index, calls in called.items():
            kernel, cost = kernels[index], found.costs[index]
            mine = into[kernel.name, kernel.rule]
            mine.terms.append(kernel_work.work(kernel, calls))
            mine.cycles.append(cost.cycles_est - cost.flash_stalls_est)
            mine.lines.append(latency.flash_lines(kernel, calls, sizes[index], timing))
            mine.fetched.append(cost.flash_stalls_est / timing.flash_wait_states)
    return executor


def _fit(terms: Sequence[Terms], wanted: Sequence[float], scale: NDArray[np.float64]) -> list[float]:
    a = np.asarray(terms, np.float64) / scale[:, None]
    norms = np.where(a.any(axis=0), np.linalg.norm(a, axis=0), 1.0)  # columns of equal weight are better conditioned
    weights, _ = nnls(a / norms, np.asarray(wanted) / scale)
    return [float(f"{value:.{DIGITS}g}") for value in weights / norms]
