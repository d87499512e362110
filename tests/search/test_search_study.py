"""The joint search on a tiny space with the real solver."""

import re

import pytest
import torch

from patchline import targets
from patchline.config import SearchParams
from patchline.errors import UserError
from patchline.network.ir import Resize
from patchline.search import Candidate, Cost, Limits, candidate_cost, search
from patchline.search.cost import candidate_plan, predicted_cycles
from patchline.search.judge import Judge
from patchline.search.results import front_rows
from patchline.search.study import pareto_candidates
from patchline.supernet import Supernet
from tiny import TINY, split

TARGET = targets.load("stm32f412")
PARAMS = SearchParams(trials=24, population=8, max_macs=None, sram_budget=None)


@pytest.fixture
def judge(tmp_path) -> Judge:
    torch.manual_seed(0)
    return Judge(Supernet(TINY, 2), split(32), split(32, seed=1), ["a", "b"], tmp_path)


def _search(judge: Judge, params: SearchParams = PARAMS, seed: int = 1):
    return search(TINY, 2, judge, TARGET, params, Limits.of(params, TARGET), seed)


def test_costs_are_those_of_the_plan() -> None:
    limits = Limits.of(PARAMS, TARGET)
    for arch in (TINY.largest(2), TINY.smallest(2)):
        cost = candidate_cost(arch, TARGET, PARAMS, limits)
        network, plan = candidate_plan(arch, TARGET, PARAMS)
        assert cost.macs == plan.macs
        assert cost.executed_macs == plan.macs + plan.extra_macs
        assert cost.sram_peak_bytes <= plan.sram_peak_bytes <= limits.sram
        assert cost.flash_bytes == pytest.approx(plan.flash.total, rel=0.05)
        assert cost.latency_ms_est == pytest.approx(1000 * predicted_cycles(network, plan, TARGET) / TARGET.clock_hz)


@pytest.mark.parametrize("image_size", [24, 8, 12])
@pytest.mark.parametrize("mode", ["pulled", "resident"])
def test_the_device_s_change_of_size_is_in_the_costs(image_size: int, mode: str) -> None:
    arch = TINY.smallest(2)
    params = PARAMS.model_copy(update={"input": mode})
    limits = Limits.of(params, TARGET)
    cost = candidate_cost(arch, TARGET, params, limits, image_size)
    network, plan = candidate_plan(arch, TARGET, params, image_size)
    assert network.contract.shape == (image_size, image_size, 3)
    changes = [op for op in network.ops if isinstance(op, Resize)]
    assert len(changes) == (image_size != arch.resolution)
    assert cost.sram_peak_bytes <= plan.sram_peak_bytes
    assert cost.latency_ms_est == pytest.approx(1000 * predicted_cycles(network, plan, TARGET) / TARGET.clock_hz)
    alone = candidate_cost(arch, TARGET, params, limits)
    if changes:
        assert cost.latency_ms_est > alone.latency_ms_est
    if image_size > arch.resolution and mode == "resident":
        assert cost.sram_peak_bytes > alone.sram_peak_bytes  # it holds the whole prepared image


def test_a_schedule_that_saves_memory_lets_larger_networks_in() -> None:
    arch, limits = TINY.largest(2), Limits.of(PARAMS, TARGET)
    layer = candidate_cost(arch, TARGET, PARAMS.model_copy(update={"schedule": "layer"}), limits)
    auto = candidate_cost(arch, TARGET, PARAMS, limits)
    assert auto.sram_peak_bytes < layer.sram_peak_bytes


def test_the_m7_is_predicted_faster_per_cycle() -> None:
    network, plan = candidate_plan(TINY.largest(2), TARGET, PARAMS)
    assert 0 < predicted_cycles(network, plan, targets.load("stm32f746")) < predicted_cycles(network, plan, TARGET)


def test_the_winner_is_the_most_accurate_and_the_front_is_undominated(judge) -> None:
    result = _search(judge)
    assert result.feasible > 5
    assert result.winner.accuracy == max(c.accuracy for c in result.finalists)
    memory = [c.cost.sram_peak_bytes for c in result.front]
    accuracies = [c.accuracy for c in result.front]
    assert memory == sorted(memory) and accuracies == sorted(accuracies)
    rows = front_rows(result)
    assert sum(row["winner"] for row in rows) == 1
    assert {"sram_peak_bytes", "accuracy", "executed_macs"} <= set(rows[0])


def test_the_seed_decides(judge) -> None:
    assert _search(judge) == _search(judge)


def test_only_what_fits_is_measured(judge) -> None:
    free = _search(judge)
    budget = (free.front[0].cost.sram_peak_bytes + free.front[-1].cost.sram_peak_bytes) // 2 + 100
    bound = _search(judge, PARAMS.model_copy(update={"sram_budget": budget}))
    assert bound.feasible <= free.feasible
    assert all(c.cost.sram_peak_bytes <= budget for c in (*bound.front, *bound.finalists))


@pytest.mark.parametrize(
    ("limit", "value", "word"),
    [
        ("sram_budget", 1024, "SRAM"),
        ("flash_budget", 64, "flash"),
        ("max_macs", 10, "MACs"),
        ("max_latency_ms", 1e-6, "latency"),
    ],
)
def test_no_candidate_names_the_limit_and_the_closest_miss(judge, limit: str, value: float, word: str) -> None:
    with pytest.raises(UserError) as error:
        _search(judge, PARAMS.model_copy(update={limit: value, "trials": 8}))
    message = str(error.value)
    assert f"{word} binds" in message and f"search.{limit}" in message and "stm32f412" in message
    assert re.search(r"closest miss needs [\d,.]+", message)


def test_accuracies_are_remembered(judge, tmp_path, monkeypatch) -> None:
    before = _search(judge)
    monkeypatch.setattr("patchline.search.judge.extract", None)  # nothing is left to measure
    torch.manual_seed(0)
    again = Judge(Supernet(TINY, 2), split(32), split(32, seed=1), ["a", "b"], tmp_path)
    assert _search(again) == before


@pytest.mark.slow  # a database file, many small transactions
def test_processes_share_a_study(judge, tmp_path) -> None:
    """The second search on the same storage finds all trials done and draws the same conclusion."""
    params = PARAMS.model_copy(update={"storage": f"sqlite:///{tmp_path / 'study.db'}", "trials": 5, "population": 4})
    first = _search(judge, params)
    assert _search(judge, params) == first


def test_a_storage_that_cannot_be_opened_is_a_clear_error(judge) -> None:
    with pytest.raises(UserError, match=r"search\.storage"):
        _search(judge, PARAMS.model_copy(update={"storage": "nonsense://x"}))


def test_pareto_keeps_one_of_equals() -> None:
    def candidate(memory: int, accuracy: float) -> Candidate:
        return Candidate(TINY.smallest(2), Cost(memory, 0, 1, 1, 0.0), accuracy)

    points = [candidate(10, 0.5), candidate(10, 0.5), candidate(20, 0.4), candidate(30, 0.9), candidate(5, 0.1)]
    assert [(c.cost.sram_peak_bytes, c.accuracy) for c in pareto_candidates(points)] == [(5, 0.1), (10, 0.5), (30, 0.9)]
