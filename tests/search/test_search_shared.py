"""Several processes on one study: each draws its own, nothing is judged twice, and only equal goals are shared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.config import SearchParams
from patchline.search import Limits
from patchline.search.judge import key_of
from patchline.search.ledger import Ledger
from patchline.search.study import study_name
from tiny import TINY

TARGET = targets.load("stm32f412")
PARAMS = SearchParams(sram_budget=None, max_macs=None)
TRIALS = 60

WORKER = f"""
import sys, time
from pathlib import Path
from patchline import targets
from patchline.config import SearchParams
from patchline.search import Limits, search
from patchline.search.judge import key_of
sys.path.insert(0, sys.argv[2])
from tiny import TINY

class Judge:
    identity = "fake"
    def accuracy(self, arch, recalibration_images, images):
        if images == 1000:
            time.sleep(0.02)
            print(key_of(arch), flush=True)
        return int(key_of(arch), 16) / 16**16
    def save(self):
        pass

params = SearchParams(trials={TRIALS}, population=8, max_macs=None, sram_budget=None, storage=sys.argv[1])
board = targets.load("stm32f412")
print("ready", flush=True)
sys.stdin.readline()
search(TINY, 2, Judge(), board, params, Limits.of(params, board), 1)
"""


@pytest.mark.slow  # a database file, many small transactions
def test_two_processes_at_the_same_time_judge_nothing_twice(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    command = [sys.executable, "-c", WORKER, storage, str(Path(__file__).parents[1] / "supernet")]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
    for worker in workers:  # the database and its tables are made by both at once
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    done = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], done
    judged = [out.split() for out, _ in done]
    both = judged[0] + judged[1]
    assert len(both) == len(set(both))
    assert TRIALS <= len(both) <= TRIALS + 1  # the other one may have begun its last
    assert min(map(len, judged)) > TRIALS // 6


def test_what_another_process_is_at_is_not_claimed_again(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    here, elsewhere = Ledger(storage, "s"), Ledger(storage, "s")
    small, large = TINY.smallest(2), TINY.largest(2)
    first, second = here.begin(), elsewhere.begin()
    assert first.number != second.number  # and so are the seeds of their draws
    assert here.claim(first, small)
    assert not elsewhere.claim(second, small)  # in flight
    here.end(first, 0.5, 1000)
    assert not elsewhere.claim(second, small)  # finished
    assert elsewhere.claim(second, large)
    elsewhere.drop(second)
    assert here.claim(here.begin(), large)  # given up
    (done,) = elsewhere.finished()
    assert (done.number, done.arch, done.accuracy) == (first.number, small, 0.5)


class _Judge:
    identity = "fake"


def _name(**changes: object) -> str:
    """The study's name after `changes` of params, or of what else is named."""
    space, target, classes, seed = (changes.pop(k, d) for k, d in
                                    (("space", TINY), ("target", TARGET), ("classes", 2), ("seed", 1)))  # fmt: skip
    params = PARAMS.model_copy(update=changes)
    return study_name(space, classes, _Judge(), target, params, Limits.of(params, target), seed)  # type: ignore[arg-type]


def test_the_name_holds_all_that_moves_the_goal() -> None:
    from dataclasses import replace

    different = [
        {},
        {"sram_budget": TARGET.sram.size},  # the same bytes as without a budget, but then the fewest MACs win
        {"sram_budget": 20_000},
        {"flash_budget": 100_000},
        {"max_macs": 10**6},
        {"max_latency_ms": 10.0},
        {"max_extra_macs": 0.03},
        {"schedule": "layer"},
        {"input": "pushed"},
        {"seed": 2},
        {"classes": 3},
        {"space": replace(TINY, heads=(8, 24))},  # the same name, other networks
        {"target": replace(TARGET, clock_hz=TARGET.clock_hz // 2)},
        {"target": targets.load("stm32f746")},
    ]
    assert len({_name(**changes) for changes in different}) == len(different)


@pytest.mark.parametrize("change", [{"trials": 7}, {"population": 9}, {"storage": "sqlite:///x.db"}])
def test_effort_does_not_change_the_name(change: dict[str, object]) -> None:
    assert _name(**change) == _name()


def test_seeds_of_trials_differ_and_repeat() -> None:
    from patchline.search.draw import at_random

    def drawn(seed: int, number: int) -> list[str]:
        draws = at_random(TINY, 2, [], np.random.default_rng([seed, number]))
        return [key_of(next(draws)) for _ in range(6)]

    assert drawn(1, 0) == drawn(1, 0)
    assert len({tuple(drawn(seed, number)) for seed in (1, 2) for number in range(5)}) == 10
