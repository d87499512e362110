"""`patchline compile`, `bench` and `track` of one model, in a folder that is no project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from patchline.build import SizeError
from patchline.cli import app
from patchline.errors import UserError
from patchline.files import hash_file
from patchline.hil.outcome import RunError
from patchline.network import serialize
from patchline.network.builder import NetworkBuilder
from patchline.tracking import compiled, runs
from patchline.tracking.store import Store, connect

RUNNER = CliRunner()


def call(*args: object) -> Any:
    result = RUNNER.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `compile` with its firmware."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    root = tmp_path_factory.mktemp("compiled")
    b = NetworkBuilder(16, 16, 3, name="small")
    x = b.mbconv(b.conv("input", 8, 3, 2), 8, 3, 1, 3)
    serialize.save(b.finish(b.conv(b.global_pool(x), 4, relu=False)), root / "small.npz")
    call("compile", root / "small.npz", "--target", "stm32f412", "-o", root / "out")
    return root / "out"


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(template, tmp_path / "out"))


def test_compile_bench_and_track_outside_of_a_project(folder: Path, tmp_path: Path) -> None:
    first = json.loads(call("track", folder, "--json").stdout)
    shown = call("bench", folder, "--count", 3, "--traced", 1, "--workers", 1, "--emulator", "unicorn")
    assert f"patchline track {folder}" in shown.stdout
    output = call("track", folder).stdout
    assert "logged to MLflow: run " in output and "open it with: " in output and "compare: " in output
    again = json.loads(call("track", folder, "--json").stdout)
    assert again["run_id"] in output and not again["created"] and again["run_id"] != first["run_id"]

    client = connect(Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path))
    plan_only, run = (client.get_run(found["run_id"]).data for found in (first, again))
    loaded = compiled.load_compiled(folder)
    assert run.metrics == loaded.metrics
    assert {
        "sram_peak_bytes", "activation_peak_bytes", "arena_bytes", "sram_layer_by_layer_bytes", "flash_bytes",
        "macs", "extra_macs_ratio", "instructions", "cycles_est", "latency_ms_est", "stack_bytes", "bit_exact_outputs",
    } == set(run.metrics)  # fmt: skip
    assert run.metrics["bit_exact_outputs"] == 1.0 and run.metrics["sram_peak_bytes"] == loaded.plan.sram_peak_bytes
    assert "instructions" not in plan_only.metrics and plan_only.metrics["flash_bytes"] == run.metrics["flash_bytes"]
    assert run.params["network"] == "small" and run.params["target"] == "stm32f412"
    assert run.params["input"] == "pulled" and run.params["input_shape"] == "16x16x3"
    assert run.tags[runs.STATE_TAG] == loaded.identity and runs.WRITING_TAG not in run.tags
    names = {a.path for a in client.list_artifacts(again["run_id"], "firmware")}
    assert {"plan.json", "network.npz", "firmware.elf", "benchmark.json", "generated", "src", "Makefile"} <= {
        Path(name).name for name in names
    }
    assert "firmware/build" not in names
    assert "memory.svg" in {a.path for a in client.list_artifacts(again["run_id"])}


def test_figures_of_another_firmware_are_refused(folder: Path) -> None:
    content = {"firmware_sha256": hash_file(folder / "firmware.elf"), "instructions": 7}
    (folder / "benchmark.json").write_text(json.dumps(content))
    assert compiled.load_compiled(folder).metrics["instructions"] == 7
    (folder / "benchmark.json").write_text(json.dumps(content | {"firmware_sha256": "0"}))
    with pytest.raises(UserError, match="another firmware"):
        compiled.load_compiled(folder)
    (folder / "benchmark.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        compiled.load_compiled(folder)


def test_folders_that_are_not_of_one_piece_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder that `patchline compile` wrote"):
        compiled.track(tmp_path / "absent")
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"network": "other"}))
    with pytest.raises(UserError, match="of different models"):
        compiled.track(folder)
    plan["sram"]["static"] += 4
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(SizeError, match="planned"):
        compiled.track(folder)
    (folder / "plan.json").write_text("[")
    with pytest.raises(UserError, match="damaged"):
        compiled.track(folder)
    assert not (tmp_path / "mlflow.db").exists()


def test_sources_alone_have_the_figures_of_the_plan(folder: Path) -> None:
    (folder / "firmware.elf").unlink()
    metrics = compiled.load_compiled(folder).metrics
    assert "sram_peak_bytes" in metrics and "flash_bytes" not in metrics


@pytest.mark.parametrize("error", [RunError("mismatch", "1 of 3 images differ"), SizeError("1 byte more than planned")])
def test_a_failed_benchmark_leaves_no_figures(folder: Path, monkeypatch: pytest.MonkeyPatch, error: UserError) -> None:
    from patchline.hil import bench

    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(bench, "run", fail)
    (folder / "benchmark.json").write_text("{}")
    assert RUNNER.invoke(app, ["bench", str(folder)]).exit_code == 1
    assert not (folder / "benchmark.json").exists()


def test_a_folder_that_cannot_be_written_is_a_note(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from patchline import files

    def fail(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "write_json", fail)
    result = call("bench", folder, "--count", 1, "--traced", 1, "--workers", 1, "--emulator", "unicorn", "--json")
    assert "is not written: Permission denied" in result.stderr
    assert json.loads(result.stdout)["bit_exact_outputs"] == 1.0
    assert not (folder / "benchmark.json").exists()


def test_a_store_that_cannot_be_written_is_one_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db.lock").mkdir()  # stops root as well, which may write into any folder
    result = RUNNER.invoke(app, ["track", str(folder)])
    assert result.exit_code == 2 and "cannot be written" in result.output


def test_the_experiment_of_the_pipeline_comes_from_its_parameters() -> None:
    assert RUNNER.invoke(app, ["track", "--experiment", "x"]).exit_code == 2
