"""All seven stages on a folder of photos, which are read one class after the other: what comes out must not show it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from patchline import adopt
from patchline.tracking.results import load_results

REPOSITORY = Path(__file__).parents[2]
REAL = REPOSITORY.parent / "shared" / "data" / "person-folder"
PHOTOS = 150  # a class
SMALL: dict[str, Any] = {
    "data": {"resolution": 64, "counts": {"train": 60, "val": 15, "test": 25}},
    "train_supernet": {"batch_size": 32, "processes": 1},
    "search": {"trials": 6, "population": 4},
    "quantize": {"calibration_images": 32},
    "benchmark": {"emulator": "unicorn", "images": 50, "traced_images": 1},  # fewer than the test split holds
}


def striped(folder: Path) -> None:
    """Photographs made here: stripes that lie or stand, of any width, brightness and colour, under noise."""
    rng = np.random.default_rng(0)
    along = np.arange(72)
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOS):
            wave = np.sin(along / rng.uniform(1.5, 4) + rng.uniform(0, 6)) * rng.uniform(40, 90)
            plane = np.broadcast_to(wave if name == "standing" else wave[:, None], (72, 72))
            colour = rng.uniform(60, 190, 3)
            pixels = plane[..., None] * rng.uniform(0.5, 1, 3) + colour + rng.normal(0, 12, (72, 72, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


def persons(folder: Path) -> None:
    """Real ones, where they lie beside the repository."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not here")
    for name in ("other", "person"):
        (folder / name).mkdir(parents=True)
        for path in sorted((REAL / name).iterdir())[: 2 * PHOTOS]:
            shutil.copy(path, folder / name)


def changed(path: Path, changes: dict[str, Any]) -> None:
    yaml = YAML()
    params = yaml.load(path.read_text())
    for section, values in changes.items():
        params[section].update(values)
    with path.open("w") as stream:
        yaml.dump(params, stream)


def run_stages(root: Path) -> dict[str, Any]:
    """`dvc repro` on the code of this repository; the metrics of the benchmark."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    env |= {"PATH": path, "PYTHONPATH": str(REPOSITORY / "pipeline"), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    metrics: dict[str, Any] = json.loads((root / "metrics/stm32f412/benchmark.json").read_text())
    assert f"(one and the same answer for every image: {metrics['accuracy_constant']:.4f})" in done.stdout
    return metrics


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc")
@pytest.mark.parametrize(
    ("photographs", "epochs", "least"), [(striped, 15, 0.95), (persons, 24, 0.8)], ids=["made here", "persons"]
)
def test_photos_in_class_folders_come_out_well_in_either_order(
    tmp_path: Path, photographs: Callable[[Path], None], epochs: int, least: float
) -> None:
    root = tmp_path / "camera"
    photographs(root / "photos")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    adopt.adopt(root, photos=root / "photos")
    changed(root / "params.yaml", SMALL)
    changed(root / "params.yaml", {"train_supernet": {"epochs": epochs}, "search": {"finetune_epochs": epochs // 3}})
    first, last = sorted(path.name for path in (root / "photos").iterdir())

    before = run_stages(root)
    (root / "photos" / first).rename(root / "photos" / f"z {first}")  # it comes last now
    after = run_stages(root)

    for metrics in (before, after):
        assert metrics["images"] == 50
        assert metrics["bit_exact_outputs"] == 1.0
        assert 0.5 <= metrics["accuracy_constant"] <= 0.6
        assert metrics["accuracy_device"] >= least
    assert abs(before["accuracy_device"] - after["accuracy_device"]) <= 0.06
    assert np.diag(before["confusion_device"]).min() > 0
    # the same images, whatever their class is called
    assert sorted(map(sum, before["confusion_device"])) == sorted(map(sum, after["confusion_device"]))
    results = load_results(root)
    assert results.classes == [last, f"z {first}"]
    assert not results.targets[0].warning
    assert (root / "mlflow.db").exists()
