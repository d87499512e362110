"""The search: NSGA-II over all choices of a space, memory first, accuracy only for what fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from patchline.config import SearchParams
from patchline.errors import UserError
from patchline.progress import track
from patchline.schedule.limits import Limits
from patchline.search.cost import Cost, candidate_cost, candidate_plan
from patchline.search.judge import Judge, key_of
from patchline.supernet import Architecture, Space
from patchline.targets import Target

RECALIBRATION_IMAGES = 256
TRIAL_IMAGES = 1000  # of the validation split, for ranking candidates
FINALISTS = 6  # best candidates that are judged again on the whole split
FINAL_RECALIBRATION_IMAGES = 1024

CostOf = Callable[[Architecture], Cost]


@dataclass(frozen=True)
class Candidate:
    """An architecture with its costs; `accuracy` is that of the supernet's weights, None where it was not measured."""

    arch: Architecture
    cost: Cost
    accuracy: float | None = None
    trial: int = 0  # when it was first seen, counted over different architectures


@dataclass(frozen=True)
class SearchResult:
    winner: Candidate
    front: tuple[Candidate, ...]  # undominated in accuracy (up) and sram_peak_bytes (down), from the least memory
    trials: int
    feasible: int  # different architectures that keep all limits
    finalists: tuple[Candidate, ...]


def search(
    space: Space, classes: int, judge: Judge, target: Target, params: SearchParams, limits: Limits, seed: int
) -> SearchResult:
    """Search `space` for the most accurate network within `limits`, architecture and schedule judged together.

    With `params.storage` several processes share one study (named after everything that moves the goal) and its trials.
    Raises UserError, naming the limit that binds and the closest miss, when no candidate fits.
    """
    seen: dict[str, Candidate] = {}

    def judged(arch: Architecture) -> Candidate:
        key = key_of(arch)
        if key not in seen:
            cost = candidate_cost(arch, target, params, limits)
            value = judge.accuracy(arch, RECALIBRATION_IMAGES, TRIAL_IMAGES) if cost.fits(limits) else None
            seen[key] = Candidate(arch, cost, value, len(seen))
        return seen[key]

    study = _study(params, seed, _study_name(space, classes, judge, target, params, limits, seed))
    for first in _first_guesses(space):
        study.enqueue_trial(first, skip_if_exists=True)
    for _ in track(range(_missing(study, params.trials)), f"searching for {target.name}"):
        if _missing(study, params.trials) == 0:
            break  # other processes on the same study did the rest
        trial = study.ask()
        candidate = judged(_suggested(space, trial, classes))
        for name, violation in candidate.cost.violations(limits).items():
            trial.set_constraint(name, violation)
        study.tell(trial, [candidate.accuracy or 0.0, candidate.cost.sram_peak_bytes])
    judge.save()
    for finished in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        judged(_recorded(space, finished, classes))  # what other processes found
    candidates = list(seen.values())
    feasible = [c for c in candidates if c.accuracy is not None]
    if not feasible:
        raise UserError(no_candidate_message(candidates, limits, target.name))
    finalists = _finalists(feasible, judge, target, params)
    if not finalists:
        raise UserError(
            f"{target.name}: {len(feasible)} candidates keep the SRAM limit of {limits.sram:,} bytes by so little that "
            "placing their buffers breaks it: raise search.sram_budget by some hundred bytes"
        )
    return SearchResult(finalists[0], pareto_candidates(feasible), params.trials, len(feasible), finalists)


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


def _study_name(
    space: Space, classes: int, judge: Judge, target: Target, params: SearchParams, limits: Limits, seed: int
) -> str:
    """Processes share a study only where they search for the same thing: the name holds all that moves the goal."""
    asked = [space.name, classes, judge.identity, asdict(limits), params.schedule, params.input, params.max_extra_macs]
    return f"{target.name}-{seed}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]}"


def _study(params: SearchParams, seed: int, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.NSGAIISampler(population_size=params.population, seed=seed)
    try:
        return optuna.create_study(
            study_name=name, storage=params.storage, sampler=sampler,
            directions=["maximize", "minimize"], load_if_exists=True,
        )  # fmt: skip
    except Exception as error:
        if params.storage is None:
            raise
        raise UserError(f"search.storage: {params.storage!r} cannot be opened: {error}") from error


def _missing(study: optuna.Study, trials: int) -> int:
    return max(0, trials - len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))


def _first_guesses(space: Space) -> list[dict[str, int]]:
    """The largest and the smallest network of every resolution: the corners that random draws rarely meet."""
    guesses = []
    for resolution in space.resolutions:
        for end in (-1, 0):
            chosen: dict[str, int] = {"resolution": resolution}

            def note(name: str, options: Sequence[int], chosen: dict[str, int] = chosen, end: int = end) -> int:
                return chosen.setdefault(name, options[end])

            space.choose(note, 2)
            guesses.append(chosen)
    return guesses


def _suggested(space: Space, trial: Trial, classes: int) -> Architecture:
    return space.choose(lambda name, options: int(trial.suggest_categorical(name, options)), classes)


def _recorded(space: Space, trial: FrozenTrial, classes: int) -> Architecture:
    return space.choose(lambda name, _: int(trial.params[name]), classes)


def _finalists(
    feasible: Sequence[Candidate], judge: Judge, target: Target, params: SearchParams
) -> tuple[Candidate, ...]:
    """The best of `feasible`, judged again on more images, best first; among equals fewer MACs win.

    Placing the buffers may cost some bytes more than the solver's estimate: what then no longer fits is left out.
    """
    ranked = sorted(feasible, key=lambda c: (-(c.accuracy or 0), c.cost.executed_macs))
    best = list(islice((c for c in ranked if candidate_plan(c.arch, target, params)[1].fits), FINALISTS))
    again = [
        replace(c, accuracy=judge.accuracy(c.arch, FINAL_RECALIBRATION_IMAGES, 10**9))
        for c in track(best, "judging the finalists")
    ]
    judge.save()
    return tuple(sorted(again, key=lambda c: (-(c.accuracy or 0), c.cost.executed_macs)))
