from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from patchline.errors import UserError
from patchline.tracking import state


def edit_lock(root: Path, change: Callable[[dict], None]) -> None:
    yaml = YAML(typ="safe")
    lock = yaml.load((root / "dvc.lock").read_text())
    change(lock["stages"])
    with (root / "dvc.lock").open("w") as stream:
        yaml.dump(lock, stream)


def test_the_state_ignores_the_track_entry_and_the_order_and_nothing_else(project: Path) -> None:
    before = state.pipeline_state(project)
    edit_lock(project, lambda stages: stages.update(track={"cmd": "python stages/track.py"}))
    assert state.pipeline_state(project) == before
    edit_lock(project, lambda stages: stages.update(prepare=stages.pop("prepare")))
    assert state.pipeline_state(project) == before
    edit_lock(project, lambda stages: stages["prepare"]["deps"][0].update(md5="changed"))
    assert state.pipeline_state(project) != before


def test_no_lock_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro"):
        state.pipeline_state(tmp_path)


def test_fresh_results_pass(project: Path) -> None:
    state.check_fresh(project, ("stm32f412", "stm32f746"))


def test_a_changed_parameter_is_named(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("32KB", "64KB"))
    with pytest.raises(UserError, match=r"search\.sram_budget = 64KB.*made with 32KB.*dvc repro"):
        state.check_fresh(project, ("stm32f412",))


def test_a_changed_metrics_file_is_named(project: Path) -> None:
    (project / "metrics/stm32f412/benchmark.json").write_text('{"accuracy_device": 1.0}')
    with pytest.raises(UserError, match=r"metrics/stm32f412/benchmark\.json is not the one in dvc\.lock"):
        state.check_fresh(project, ("stm32f412",))
    state.check_fresh(project, ("stm32f746",))  # a board that is no longer listed does not count


def test_the_store_of_a_temporary_experiment_is_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "repo/.dvc/tmp/exps/tmp1234"
    copy.mkdir(parents=True)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert state.store_root(copy) == tmp_path / "repo"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repo"))
    assert state.store_root(copy) == tmp_path / "repo"
    assert state.store_root(tmp_path / "repo") == tmp_path / "repo"


def test_the_root_is_found_from_below(project: Path) -> None:
    assert state.work_root(project / "models/stm32f412") == project
    with pytest.raises(UserError, match="patchline init"):
        state.work_root("/")
