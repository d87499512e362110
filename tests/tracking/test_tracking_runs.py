"""What MLflow is told, and when a model becomes champion; on a SQLite store, where one tracked project serves all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchline.errors import UserError
from patchline.network import reference, serialize
from patchline.tracking import promote, runs, state
from patchline.tracking.results import load_results
from patchline.tracking.store import Store, connect, store_of

CHAMPION = "champion"
MODEL = "patchline-scenes-stm32f412"


def client_of(root: Path) -> Any:
    return connect(store_of(root))


def champion(root: Path) -> str | None:
    found = client_of(root).get_registered_model(MODEL).aliases
    return str(found[CHAMPION]) if CHAMPION in found else None


def test_one_run_holds_the_final_metrics_of_every_board(tracked: Path) -> None:
    result = runs.track(tracked)
    assert not result.created  # found by its state
    client = client_of(tracked)
    run = client.get_run(result.run_id)
    measured = load_results(tracked)
    for target in measured.targets:
        for key, value in target.metrics.items():
            assert run.data.metrics[f"{target.name}/{key}"] == value
        assert run.data.metrics[f"{target.name}/constraints_hold"] == 1.0
    assert run.data.params["sram_budget_kb"] == "32.0"
    assert len(run.data.params) <= 10
    assert run.data.tags[runs.STATE_TAG] == state.pipeline_state(tracked)
    assert run.data.tags["patchline.raw_data"] == "0123456789abcdef.dir"
    assert run.data.tags["patchline.test_hash"] == "t0"
    assert runs.WRITING_TAG not in run.data.tags
    assert "| stm32f746 | 91.00% |" in run.data.tags["mlflow.note.content"]
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("scenes", "fedcba9876543210fedcba9876543210.dir"[:36])
    curve = client.get_metric_history(result.run_id, "supernet/loss")
    assert [m.step for m in curve] == list(range(0, 200, 10))


def test_candidates_are_one_level_down(tracked: Path) -> None:
    result = runs.track(tracked)
    client = client_of(tracked)
    children = client.search_runs(
        [result.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'", max_results=100
    )
    assert len(children) == 16
    winners = [r for r in children if r.data.tags["patchline.candidate"] == "winner"]
    assert {r.info.run_name for r in winners} == {"stm32f412 candidate 4", "stm32f746 candidate 4"}
    assert "stm32f412/sram_peak_bytes" in next(r for r in winners if "f412" in r.info.run_name).data.metrics


def test_artifacts_hold_what_an_engineer_needs(tracked: Path) -> None:
    result = runs.track(tracked)
    client = client_of(tracked)
    assert {a.path for a in client.list_artifacts(result.run_id)} == {
        "report.html", "memory-stm32f412.svg", "memory-stm32f746.svg", "firmware", "pipeline",
    }  # fmt: skip
    firmware = {Path(a.path).name for a in client.list_artifacts(result.run_id, "firmware/stm32f412")}
    assert {"plan.json", "network.npz", "firmware.elf", "source", "pareto.csv"} <= firmware
    source = [a.path for a in client.list_artifacts(result.run_id, "firmware/stm32f412/source")]
    assert source == ["firmware/stm32f412/source/model.c"]


def test_the_registered_model_carries_signature_and_firmware(tracked: Path) -> None:
    import mlflow

    client = client_of(tracked)
    assert [m.name for m in client.search_registered_models()] == [MODEL, "patchline-scenes-stm32f746"]
    version = client.get_model_version(MODEL, "1")
    assert version.tags["patchline.constraints"] == "all hold"
    path = Path(mlflow.artifacts.download_artifacts(f"models:/{MODEL}/1"))
    assert {p.name for p in (path / "extra_files").iterdir()} == {"plan.json", "network.npz", "firmware.elf"}
    signature = mlflow.models.get_model_info(f"models:/{MODEL}/1").signature
    assert signature.inputs.inputs[0].shape == (1, 3, 32, 32)
    assert signature.inputs.inputs[0].type == np.dtype("float32")


def test_an_interrupted_track_is_replaced_and_completed(tracked: Path, change: Any, monkeypatch: Any) -> None:
    change(tracked, accuracy=0.915)

    def fail(*args: Any) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(runs, "_log_candidates", fail)
    with pytest.raises(RuntimeError):
        runs.track(tracked)
    client = client_of(tracked)
    experiment = runs.experiment_id(store_of(tracked), client, "patchline-scenes")
    assert runs.find_run(client, experiment, state.pipeline_state(tracked)) is None
    monkeypatch.undo()
    result = runs.track(tracked)
    assert result.created
    parents = client.search_runs([experiment], f"tags.`{runs.STATE_TAG}` != ''")
    assert len(parents) == 2
    assert not client.search_runs([experiment], f"tags.`{runs.WRITING_TAG}` != ''")
    assert set(result.siblings) == {r.info.run_id for r in parents}


def test_results_of_another_state_are_not_logged(tracked: Path) -> None:
    text = (tracked / "params.yaml").read_text()
    (tracked / "params.yaml").write_text(text.replace("32KB", "16KB"))
    with pytest.raises(UserError, match="dvc repro"):
        runs.track(tracked)


def test_a_dry_run_moves_nothing(tracked: Path) -> None:
    decisions = promote.promote(tracked, dry_run=True)
    assert [(d.moved, d.accepted) for d in decisions] == [(True, True)] * 2
    assert champion(tracked) is None


def test_the_first_good_model_becomes_champion_and_stays(tracked: Path) -> None:
    assert all(d.moved for d in promote.promote(tracked))
    assert champion(tracked) == "1"
    again = promote.promote(tracked)
    assert [(d.moved, d.accepted) for d in again] == [(False, True)] * 2


@pytest.mark.parametrize(
    ("changes", "moved", "reason"),
    [
        ({"accuracy": 0.905}, True, "all constraints hold"),
        ({"accuracy": 0.9}, True, "tolerance 0.01"),  # exactly the tolerance
        ({"accuracy": 0.8995}, False, "accuracy 0.8995 is more than 0.01 below the champion's 0.9100"),
        ({"accuracy": 0.99, "bit_exact": 0.9999}, False, "broken: Bit-exact outputs 99.99 %, must be 100 %"),
        ({"accuracy": 0.99, "sram_extra": 2048}, False, "broken: SRAM 33 KB, at most 32 KB"),
    ],
)
def test_a_challenger_must_earn_it(tracked: Path, change: Any, changes: dict, moved: bool, reason: str) -> None:
    promote.promote(tracked)
    change(tracked, targets=("stm32f412",), **changes)
    runs.track(tracked)
    (decision,) = promote.promote(tracked)
    assert reason in decision.reason
    assert decision.moved is decision.accepted is moved
    assert champion(tracked) == ("2" if moved else "1")


def test_an_untracked_state_says_what_to_run(tracked: Path, change: Any) -> None:
    change(tracked, accuracy=0.95)
    with pytest.raises(UserError, match="patchline track"):
        promote.promote(tracked)


def test_on_a_new_test_set_the_champion_is_measured_again(tracked: Path, change: Any) -> None:
    promote.promote(tracked)
    change(tracked, targets=("stm32f412",), accuracy=0.6, test_hash="t1")
    network = serialize.load(tracked / "models/stm32f412/network.npz")
    images = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    logits = reference.run_batch(network, network.contract.values_of(images))[network.outputs[0]]
    labels = logits.reshape(10, -1).argmax(axis=1)
    labels[:5] = 1 - labels[:5]  # the champion is right on half of them
    np.savez(tracked / "data/prepared/test.npz", images=images, labels=labels)
    runs.track(tracked)
    (decision,) = promote.promote(tracked)
    assert decision.moved
    assert "0.6000 against the champion's 0.5000 measured again" in decision.reason


def test_the_champion_is_measured_on_the_images_that_the_benchmark_takes(tracked: Path, change: Any) -> None:
    promote.promote(tracked)
    change(tracked, targets=("stm32f412",), accuracy=0.6, test_hash="t1", images=20)
    network = serialize.load(tracked / "models/stm32f412/network.npz")
    images = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    logits = reference.run_batch(network, network.contract.values_of(images))[network.outputs[0]]
    answers = logits.reshape(60, -1).argmax(axis=1)
    # one class after the other: the champion is right on the first 20 of 60
    labels = np.repeat([answers[0], 1 - answers[0]], [20, 40])
    images = images[np.resize(np.flatnonzero(answers == answers[0]), 60)]
    np.savez(tracked / "data/prepared/test.npz", images=images, labels=labels)
    runs.track(tracked)
    (decision,) = promote.promote(tracked)
    assert re.search(r"the champion's 0\.3[05]00 measured again", decision.reason), decision.reason


def test_links_hide_passwords_and_name_the_way_in(tmp_path: Path) -> None:
    server = Store("https://me:secret@mlflow.example.com/", tmp_path)
    assert server.serve_command is None
    link = server.compare_link("7", ["a", "b"])
    assert link.startswith("https://mlflow.example.com/#/compare-runs?runs=%5B%22a%22")
    assert "secret" not in link
    local = Store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert f"--backend-store-uri sqlite:///{tmp_path}/mlflow.db" in (local.serve_command or "")
    assert local.runs_link("1") == "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
