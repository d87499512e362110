"""`patchline init`: the pipeline in somebody else's repository, from the built wheel, on that repository's photos."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from typer.testing import CliRunner

from patchline import adopt
from patchline.cli import app
from patchline.config import Counts, load_params
from patchline.errors import UserError

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "door cam"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def test_everything_is_laid_down_once_and_nothing_is_overwritten(repository: Path) -> None:
    done = adopt.adopt(repository)
    assert {"dvc.yaml", "params.yaml", "stages/search.py", "firmware_template/Makefile"} <= set(done.written)
    assert (repository / ".github/workflows/patchline.yml").exists()
    assert (repository / ".dvc/config").exists()
    params = YAML(typ="safe").load((repository / "params.yaml").read_text())
    assert (params["project"], params["data"]["source"]) == ("door-cam", "folder")
    assert adopt.adopt(repository).written == ()
    (repository / "params.yaml").write_text("project: mine\n")
    (repository / "stages/track.py").write_text("mine\n")
    with pytest.raises(UserError, match=r"params\.yaml\n  stages/track\.py\n.*--force"):
        adopt.adopt(repository)
    assert (repository / "params.yaml").read_text() == "project: mine\n"
    assert set(adopt.adopt(repository, force=True).written) == {"params.yaml", "stages/track.py"}


def test_photos_that_lie_in_the_repository_are_named(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(repository / "my photos")
    monkeypatch.chdir(repository)
    result = CliRunner().invoke(app, ["init", "--photos", "my photos"])
    assert result.exit_code == 0, result.output
    assert "holds photos of 2 classes: dark (40), light (40)" in result.output
    assert "dvc add 'my photos'" in result.output
    assert "/my photos/\n" in (repository / ".gitignore").read_text()
    params = load_params(repository / "params.yaml")
    assert (params.data.source, params.data.folder) == ("folder", "my photos")
    assert (params.train_supernet.epochs, params.search.finetune_epochs) == ("auto", "auto")
    assert params.data.counts == Counts(train=80, val=10, test=10)


def test_photos_that_cannot_be_used_stop_init_before_it_writes(repository: Path, tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere")
    (repository / "empty").mkdir()
    for folder, message in (
        (tmp_path / "elsewhere", r"not a folder inside the repository.*\n  mkdir -p data && cp -r"),
        (repository / "empty", "holds 0 class folders"),
        (repository / "nowhere", "is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            adopt.adopt(repository, photos=folder)
    assert sorted(path.name for path in repository.iterdir()) == [".git", "empty"]


def test_ignore_files_keep_what_was_in_them(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.tmp")
    adopt.adopt(repository)
    first = (repository / ".gitignore").read_text()
    assert first.startswith("*.tmp\n# >>> patchline\n")
    adopt.adopt(repository)
    assert (repository / ".gitignore").read_text() == first


def test_no_stage_depends_on_sources_that_are_not_there(repository: Path) -> None:
    adopt.adopt(repository)
    stages = YAML(typ="safe").load((repository / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert not [dep for dep in stage["deps"] if dep.startswith("pipeline/")], name
        assert stage["deps"].count(adopt.VERSION_FILE) == 1, name


def test_the_limits_of_the_example_are_not_those_of_other_photos(repository: Path) -> None:
    adopt.adopt(repository)
    params = load_params(repository / "params.yaml").search
    assert (params.sram_budget, params.max_macs) == (30 * 1024, 8_000_000)


def test_outside_a_git_repository_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="git init"):
        adopt.adopt(tmp_path)


def photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = np.clip(rng.normal(brightness, 25, (24, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")


def shrink(path: Path) -> None:
    """Parameters that take a minute instead of a quarter of an hour."""
    small: dict[str, Any] = {
        "targets": ["stm32f412"],
        "data": {"resolution": 32, "counts": {"train": 60, "val": 20, "test": 20}, "min_images_per_class": 5},
        "train_supernet": {"epochs": 1, "batch_size": 16},
        "search": {"sram_budget": "64KB", "trials": 4, "population": 4, "finetune_epochs": 1},
        "quantize": {"calibration_images": 8},
        "benchmark": {"emulator": "unicorn", "images": 8, "traced_images": 1},
    }
    yaml = YAML()
    params = yaml.load(path.read_text())
    for key, value in small.items():
        if isinstance(value, dict):
            params[key].update(value)
        else:
            params[key] = value
    with path.open("w") as stream:
        yaml.dump(params, stream)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc")
@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed: no wheel")
def test_the_wheel_runs_in_an_empty_repository(repository: Path, tmp_path: Path) -> None:
    def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            command, cwd=repository, env=env, capture_output=True, text=True, timeout=1000, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
    run(*pip, "wheel", REPOSITORY, "--no-deps", "--no-build-isolation", "-w", tmp_path)
    (wheel,) = tmp_path.glob("patchline-*.whl")
    # An environment whose Patchline is the wheel's; everything else comes from this one.
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(*pip, "--python", tmp_path / "venv/bin/python", "install", "--no-deps", "--no-index", wheel)
    path = os.pathsep.join([str(tmp_path / "venv/bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    env |= {"PATH": path, "DVC_NO_ANALYTICS": "1"}

    patchline = tmp_path / "venv/bin/patchline"
    photos(repository / "photos")
    run(patchline, "init", "--photos", "photos", env=env)
    where = run(tmp_path / "venv/bin/python", "-c", "import patchline; print(patchline.__file__)", env=env)
    assert str(site) in where
    shrink(repository / "params.yaml")
    run("dvc", "add", "-q", "photos", env=env)
    run("git", "add", "-A", env=env)
    assert not [name for name in run("git", "ls-files", env=env).splitlines() if name.startswith("photos/")]
    run("dvc", "repro", "-q", env=env)
    run("dvc", "status", "-q", env=env)
    assert "one and the same answer" in run(patchline, "summary", env=env)
    metrics = json.loads((repository / "metrics/stm32f412/benchmark.json").read_text())
    assert metrics["bit_exact_outputs"] == 1.0
    assert (repository / "mlflow.db").exists()
    assert "already in MLflow" in run(patchline, "track", env=env)
    assert "is now champion" in run(patchline, "promote", env=env)
    run(patchline, "report", "-o", "report.html", env=env)
    assert "Every constraint holds on the board." in (repository / "report.html").read_text()
