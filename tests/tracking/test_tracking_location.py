"""A project folder that is moved or copied takes its MLflow store with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
import pytest

from patchline.files import hash_file
from patchline.tracking import promote, runs
from patchline.tracking.store import Store, connect, store_of

MODEL = "models:/patchline-scenes-stm32f412/1"


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hash_file(path) for path in root.rglob("*") if path.is_file()}


def artifacts_of(root: Path, run: str) -> Path:
    """Where the artifacts of `run` lie, for the store of the project in `root`; they can be read there."""
    client = connect(store_of(root))
    folder = Path(unquote(urlsplit(client.get_run(run).info.artifact_uri).path))
    assert (folder / "report.html").is_file()
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(run)}
    return folder


@pytest.fixture
def old(tracked: Path) -> Path:
    """A project that has used its store where it lies."""
    connect(store_of(tracked))
    return tracked


def test_a_moved_project_finds_its_runs_and_models(old: Path, tmp_path: Path, capsys: Any) -> None:
    new = tmp_path / "somewhere else" / "p"
    new.parent.mkdir()
    capsys.readouterr()
    old.rename(new)
    again = runs.track(new)
    assert not again.created  # found by its state
    message = capsys.readouterr().err
    assert str(old) in message and str(new / "mlartifacts") in message
    assert artifacts_of(new, again.run_id).is_relative_to(new)
    for name in ("firmware.elf", "network.npz", "plan.json"):
        assert (Path(mlflow.artifacts.download_artifacts(MODEL)) / "extra_files" / name).is_file()
    (dataset,) = connect(store_of(new)).get_run(again.run_id).inputs.dataset_inputs
    assert mlflow.data.get_source(dataset.dataset).repository == str(new)
    assert all(decision.moved for decision in promote.promote(new))
    assert not old.exists()
    assert capsys.readouterr().err.count("came from") == 0  # said once


def test_a_copy_writes_nothing_into_the_original(old: Path, tmp_path: Path, change: Any) -> None:
    new, before = tmp_path / "copy", contents(old)
    shutil.copytree(old, new)
    first = runs.track(new)
    change(new, accuracy=0.92)
    second = runs.track(new)
    promote.promote(new)
    assert second.created
    assert contents(old) == before
    for run in (first, second):
        assert artifacts_of(new, run.run_id).is_relative_to(new)
    assert not runs.track(old).created
    assert artifacts_of(old, first.run_id).is_relative_to(old)


def test_artifacts_that_were_left_behind_stay_readable(old: Path, tmp_path: Path, change: Any) -> None:
    new, before = tmp_path / "copy", contents(old)
    shutil.copytree(old, new, ignore=shutil.ignore_patterns("mlartifacts"))
    first = runs.track(new)
    change(new, accuracy=0.92)
    second = runs.track(new)
    assert artifacts_of(new, first.run_id).is_relative_to(old)
    assert artifacts_of(new, second.run_id).is_relative_to(new)
    assert contents(old) == before


def test_another_name_of_the_same_folder_is_no_move(old: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "link").symlink_to(old)
    before = contents(old)
    capsys.readouterr()
    connect(Store(f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}", tmp_path / "link"))
    assert capsys.readouterr().err == ""
    assert contents(old) == before


def test_addresses_of_others_are_left_alone(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    mine = connect(store).create_experiment("mine", artifact_location="s3://bucket/mlartifacts/mine")
    assert connect(store).get_experiment(mine).artifact_location == "s3://bucket/mlartifacts/mine"
