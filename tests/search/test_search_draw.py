"""What is tried next: children of the best, those with the best prospects first."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.config import SearchParams
from patchline.search import Limits, search
from patchline.search.draw import Draw, Scored, at_random, choices, evolved, fitted
from patchline.supernet import SPACES, Architecture, Space, Stage

SMALL = SPACES["small"]
TARGET = targets.load("stm32f412")


def _sum_of_effects(seed: int) -> Callable[[Architecture], float]:
    """An accuracy to which every choice adds its part."""
    effects: dict[tuple[str, int], float] = {}
    rng = np.random.default_rng(seed)

    def accuracy(arch: Architecture) -> float:
        made = choices(SMALL, arch).items()
        return 0.7 + sum(effects.setdefault(choice, float(rng.normal(0, 0.01))) for choice in sorted(made))

    return accuracy


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 10_000))
def test_choices_make_the_architecture_again(name: str, seed: int) -> None:
    space = SPACES[name]
    arch = space.sample(np.random.default_rng(seed), 2)
    made = choices(space, arch)
    assert space.choose(lambda name, options: made.get(name, options[0]), 2) == arch


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_draws_lie_in_the_space_and_repeat_with_their_seed(seed: int) -> None:
    rng, accuracy = np.random.default_rng(seed), _sum_of_effects(seed)
    known: list[Scored] = [(a, accuracy(a)) for a in (SMALL.sample(rng, 2) for _ in range(seed % 5))]
    first, again = (list(islice(evolved(4)(SMALL, 2, known, np.random.default_rng(seed)), 90)) for _ in range(2))
    assert first == again
    for arch in first:
        assert SMALL.choose(lambda name, options, made=choices(SMALL, arch): made.get(name, options[0]), 2) == arch
        assert arch.resolution in SMALL.resolutions


def test_the_fit_finds_the_effects_through_noise() -> None:
    accuracy, rng = _sum_of_effects(3), np.random.default_rng(0)
    known = [(a, accuracy(a) + rng.normal(0, 0.005)) for a in (SMALL.sample(rng, 2) for _ in range(100))]
    prospect = fitted(SMALL, known)
    fresh = [SMALL.sample(rng, 2) for _ in range(100)]
    assert np.corrcoef([prospect(a) for a in fresh], [accuracy(a) for a in fresh])[0, 1] > 0.8


class _Judge:
    """Accuracies of a formula; counts what it is asked for."""

    identity = "formula"

    def __init__(self, seed: int) -> None:
        self._accuracy, self.asked = _sum_of_effects(seed), 0

    def accuracy(self, arch: Architecture, recalibration_images: int, images: int) -> float:
        self.asked += images == 1000
        return self._accuracy(arch)

    def save(self) -> None: ...


@pytest.mark.slow  # some hundred plans
def test_the_search_beats_random_draws_at_equal_cost() -> None:
    params = SearchParams(trials=40, population=15, sram_budget=11 * 1024, max_macs=3_500_000)
    limits = Limits.of(params, TARGET)

    def best(draw: Draw, seed: int) -> float:
        judge = _Judge(seed)
        result = search(SMALL, 2, judge, TARGET, params, limits, seed, draw=draw)  # type: ignore[arg-type]
        assert judge.asked == params.trials == result.feasible
        return result.winner.accuracy or 0.0

    gains = [best(evolved(params.population), seed) - best(at_random, seed) for seed in range(3)]
    assert fmean(gains) > 0.01


def test_a_space_with_less_than_was_asked_for_ends_the_search() -> None:
    space = Space("four", (12,), (4,), (8, 16), (Stage((4, 8), 2),))
    judge = _Judge(1)
    judge._accuracy = lambda arch: 0.5
    params = SearchParams(trials=30, population=15, sram_budget=None, max_macs=None)
    result = search(space, 2, judge, TARGET, params, Limits.of(params, TARGET), 1)  # type: ignore[arg-type]
    assert result.trials == result.feasible == judge.asked == 4
