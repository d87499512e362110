"""The search: memory first, accuracy only for what fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np

from patchline.config import SearchParams
from patchline.errors import UserError
from patchline.progress import track
from patchline.schedule.limits import Limits
from patchline.search.cost import Cost, candidate_cost, candidate_plan, surely_breaks
from patchline.search.draw import Draw, Scored, evolved
from patchline.search.judge import Judge
from patchline.search.ledger import Ledger
from patchline.supernet import Architecture, Space
from patchline.targets import Target

RECALIBRATION_IMAGES = 256
TRIAL_IMAGES = 1000  # of the validation split, for ranking candidates
FINALISTS = 6  # best candidates that are judged again on the whole split
FINAL_RECALIBRATION_IMAGES = 1024

DRAWS = 500  # tried for one trial before the space counts as exhausted


@dataclass(frozen=True)
class Candidate:
    """An architecture with its costs; `accuracy` is that of the supernet's weights, None where it was not measured."""

    arch: Architecture
    cost: Cost
    accuracy: float | None = None
    trial: int = 0  # its number


@dataclass(frozen=True)
class SearchResult:
    winner: Candidate
    front: tuple[Candidate, ...]  # undominated in accuracy (up) and sram_peak_bytes (down), from the least memory
    trials: int
    feasible: int  # different architectures that keep all limits
    finalists: tuple[Candidate, ...]


def search(
    space: Space,
    classes: int,
    judge: Judge,
    target: Target,
    params: SearchParams,
    limits: Limits,
    seed: int,
    image_size: int | None = None,
    draw: Draw | None = None,
) -> SearchResult:
    """Search `space` for the most accurate network within `limits`, architecture and schedule judged together.

    A trial is a network whose accuracy was asked for; draws that break a limit cost none. With `params.storage` several
    processes share one study (named after everything that moves the goal) and its trials. `draw` is what proposes
    networks (default: children of the best so far). `image_size` is that of the prepared images, which the device
    brings to the network's resolution.
    Raises UserError, naming the limit that binds and the closest miss, when no candidate fits.
    """
    draw = draw or evolved(params.population)
    ledger = Ledger(params.storage, study_name(space, classes, judge, target, params, limits, seed, image_size))
    known: dict[int, Candidate] = {}

    def read() -> list[Candidate]:
        for done in ledger.finished():
            if done.number not in known:
                cost = candidate_cost(done.arch, target, params, limits, image_size)
                accuracy = done.accuracy if cost.fits(limits) else None
                known[done.number] = Candidate(done.arch, cost, accuracy, done.number)
        return list(known.values())

    for _ in track(_rounds(read, params.trials), f"searching for {target.name}", params.trials):
        trial = ledger.begin()
        any_fits, scored = scores(read(), limits)
        draws = draw(space, classes, scored, np.random.default_rng([seed, trial.number]))
        for arch in islice(draws, DRAWS):
            if any_fits and surely_breaks(arch, target, limits, image_size):
                continue
            cost = candidate_cost(arch, target, params, limits, image_size)
            fits = cost.fits(limits)
            if (fits or not any_fits) and ledger.claim(trial, arch):
                accuracy = judge.accuracy(arch, RECALIBRATION_IMAGES, TRIAL_IMAGES) if fits else 0.0
                ledger.end(trial, accuracy, cost.sram_peak_bytes)
                break
        else:
            ledger.drop(trial)
            break  # nothing is left to try
    judge.save()
    candidates = read()
    feasible = [c for c in candidates if c.accuracy is not None]
    if not feasible:
        raise UserError(no_candidate_message(candidates, limits, target.name))
    finalists = _finalists(feasible, judge, target, params, image_size)
    if not finalists:
        raise UserError(
            f"{target.name}: {len(feasible)} candidates keep the SRAM limit of {limits.sram:,} bytes by so little that "
            "placing their buffers breaks it: raise search.sram_budget by some hundred bytes"
        )
    return SearchResult(finalists[0], pareto_candidates(feasible), len(candidates), len(feasible), finalists)


def _rounds(read: Callable[[], list[Candidate]], trials: int) -> Iterator[int]:
    """Until all processes together have judged `trials` networks, or drawn as many and found none that fits."""
    while True:
        known = read()
        judged = sum(c.accuracy is not None for c in known)
        if judged >= trials or (not judged and len(known) >= trials):
            return
        yield judged


def pareto_candidates(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other beats in accuracy and memory, from the least memory."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost.sram_peak_bytes, -(c.accuracy or 0))):
        if not kept or (candidate.accuracy or 0) > (kept[-1].accuracy or 0):
            kept.append(candidate)
    return tuple(kept)


def no_candidate_message(candidates: Sequence[Candidate], limits: Limits, target: str) -> str:
    """Which limit binds, how close the search came, and what to do."""
    closest = min(candidates, key=lambda c: max(c.cost.violations(limits).values()))
    violations = closest.cost.violations(limits)
    limit = max((found for found in limits.each() if found.metric in violations), key=lambda x: violations[x.metric])
    unit = "bytes" if limit.unit == "B" else limit.unit

    def value(candidate: Candidate) -> float:
        measured: float = getattr(candidate.cost, limit.metric)
        return round(measured, 2)

    return (
        f"none of {len(candidates)} candidates fits {target}: {limit.name} binds. The closest miss needs "
        f"{value(closest):,} {unit} of the {limit.value:,} allowed ({100 * violations[limit.metric]:.0f} % too much): "
        f"{closest.arch.label}. The least {limit.name} of any candidate is {min(value(c) for c in candidates):,}. "
        f"Raise search.{limit.parameter}, or train a supernet with a smaller space or resolution."
    )


def scores(known: Sequence[Candidate], limits: Limits) -> tuple[bool, list[Scored]]:
    """Whether any of `known` keeps the limits, and what a draw aims at: accuracy, before that the way to the limits."""
    fitting = [(c.arch, c.accuracy) for c in known if c.accuracy is not None]
    return bool(fitting), fitting or [(c.arch, -max(c.cost.violations(limits).values())) for c in known]


def study_name(
    space: Space, classes: int, judge: Judge, target: Target, params: SearchParams, limits: Limits, seed: int,
    image_size: int | None = None,
) -> str:  # fmt: skip
    """Processes share a study only where they search for the same thing: the name holds all that moves the goal.

    With a budget for SRAM a candidate runs the fewest MACs that fit it, without one the least memory: the same limit in
    bytes may so mean two goals.
    """
    goal = [
        asdict(space), classes, judge.identity, asdict(target), asdict(limits), params.schedule, params.input,
        params.max_extra_macs, params.sram_budget is None, image_size, TRIAL_IMAGES, RECALIBRATION_IMAGES,
    ]  # fmt: skip
    return f"{target.name}-{seed}-{hashlib.sha256(json.dumps(goal, default=str).encode()).hexdigest()[:12]}"


def _finalists(
    feasible: Sequence[Candidate], judge: Judge, target: Target, params: SearchParams, image_size: int | None
) -> tuple[Candidate, ...]:
    """The best of `feasible`, judged again on more images, best first; among equals fewer MACs win.

    Placing the buffers may cost some bytes more than the solver's estimate: what then no longer fits is left out.
    """
    ranked = sorted(feasible, key=lambda c: (-(c.accuracy or 0), c.cost.executed_macs))
    best = list(islice((c for c in ranked if candidate_plan(c.arch, target, params, image_size)[1].fits), FINALISTS))
    again = [
        replace(c, accuracy=judge.accuracy(c.arch, FINAL_RECALIBRATION_IMAGES, 10**9))
        for c in track(best, "judging the finalists")
    ]
    judge.save()
    return tuple(sorted(again, key=lambda c: (-(c.accuracy or 0), c.cost.executed_macs)))
