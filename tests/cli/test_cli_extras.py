"""An installation without the extra `pipeline`: no torch, DVC, MLflow, Optuna."""

import subprocess
import sys
from pathlib import Path

import pytest

from patchline import extras, targets
from patchline.network import serialize
from patchline.network.builder import NetworkBuilder
from patchline.schedule import solve

ABSENT = [name.replace("-", "_") for name in extras.requirements(extras.PIPELINE)]
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); "


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def patchline(*arguments: object) -> subprocess.CompletedProcess[str]:
    return python("from patchline.cli import app; app(prog_name='patchline', args=sys.argv[1:])", *arguments)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    b = NetworkBuilder(12, 12, 3, seed=2, name="small")
    network = b.finish(b.conv(b.global_pool(b.mbconv(b.conv("input", 8, 3, 2), 8, 5, 1, 2)), 3, relu=False))
    path = tmp_path_factory.mktemp("model") / "network.npz"
    serialize.save(network, path)
    assert solve(network, targets.load("stm32f412")).plan.fits
    return path


def test_the_extra_is_what_the_pipeline_needs() -> None:
    assert {"torch", "dvc", "mlflow"} <= set(ABSENT)
    assert not set(ABSENT) & set(extras.requirements())


def test_a_model_is_planned_compiled_and_benchmarked_without_it(model: Path, tmp_path: Path) -> None:
    for command in (
        ("plan", model, "--target", "stm32f412"),
        ("compile", model, "--target", "stm32f412", "-o", tmp_path / "out"),
        ("bench", tmp_path / "out", "--emulator", "unicorn", "--count", 2),
    ):
        result = patchline(*command)
        assert result.returncode == 0, (command, result.stdout, result.stderr)


def test_a_command_that_needs_it_names_it(model: Path, tmp_path: Path) -> None:
    assert patchline("compile", model, "--target", "stm32f412", "-o", tmp_path / "out").returncode == 0
    result = patchline("track", tmp_path / "out")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "error: this needs the package mlflow: python -m pip install 'patchline[pipeline]'" in result.stderr


def test_a_package_that_no_extra_brings_is_a_fault_of_the_program() -> None:
    assert extras.advice(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None


@pytest.mark.parametrize("module", ["patchline.hil.bench", "patchline.cli.plan", "patchline.cli.compile"])
def test_the_benchmark_and_the_compiler_load_none_of_it(module: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {module}, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "mlflow", "dvc", "optuna", "pandas"} & set(loaded)
