"""Predicted cycles of candidates against what the emulator counts, on networks that no figure was fitted to."""

import shutil
import time

import numpy as np
import pytest

from kernel_measure import measure
from patchline import build, targets
from patchline.config import SearchParams
from patchline.schedule import solve
from patchline.search import Limits, candidate_cost, predicted_cycles
from patchline.search.cost import candidate_plan
from patchline.supernet.space import SMALL

WITHIN = 0.10
REFIT = "the kernels are no longer those that were measured: `make bench-kernels STORE=1` refits the prediction"
needs_gcc = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")


def _error(seed: int, schedule: str, board: str, image_size: int | None = None) -> float:
    """Relative error of the prediction for a random candidate."""
    arch = SMALL.sample(np.random.default_rng(seed), 2)
    target = targets.load(board)
    params = SearchParams(schedule=schedule, sram_budget=None, max_extra_macs=0.1)
    network, plan = candidate_plan(arch, target, params, image_size)
    counted = measure(network, plan, board, check=True).cycles
    cost = candidate_cost(arch, target, params, Limits.of(params, target), image_size)
    predicted = cost.latency_ms_est * target.clock_hz / 1000
    assert predicted == pytest.approx(predicted_cycles(network, plan, target))
    return predicted / counted - 1


@needs_gcc
@pytest.mark.parametrize(("seed", "schedule", "board"), [(1, "layer", "stm32f746"), (2, "auto", "stm32f412")])
def test_a_candidate_is_predicted(seed: int, schedule: str, board: str) -> None:
    assert abs(_error(seed, schedule, board)) < WITHIN, REFIT


@needs_gcc
def test_a_candidate_with_a_change_of_size_is_predicted() -> None:
    assert abs(_error(1, "auto", "stm32f412", image_size=96)) < WITHIN, REFIT


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("board", ["stm32f412", "stm32f746"])
@pytest.mark.parametrize("schedule", ["layer", "auto", "patch"])
@pytest.mark.parametrize("seed", [3, 4])
def test_more_candidates_are_predicted(seed: int, schedule: str, board: str) -> None:
    assert abs(_error(seed, schedule, board)) < WITHIN, REFIT


def test_predicting_takes_little_time_beside_the_solver() -> None:
    arch, target = SMALL.largest(2), targets.load("stm32f412")
    started = time.process_time()
    network, plan = candidate_plan(arch, target, SearchParams())
    solving = time.process_time() - started
    started = time.process_time()
    for _ in range(10):
        predicted_cycles(network, plan, target)
    assert time.process_time() - started < solving


def test_the_least_memory_is_not_the_fewest_cycles() -> None:
    """Strips that compute columns twice are priced by their calls, not by their MACs alone."""
    arch, target = SMALL.largest(2), targets.load("stm32f412")
    params = SearchParams(sram_budget=None, max_extra_macs=1.0)
    network, plan = candidate_plan(arch, target, params)
    layer = solve(network, target, kind="layer").plan
    ratio = predicted_cycles(network, plan, target) / predicted_cycles(network, layer, target)
    assert ratio > 1 + plan.extra_macs_ratio / 2 > 1
