"""What the stages found out about one board, their metrics files as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchline.errors import UserError
from patchline.files import read_json
from patchline.network.scores import constant_warning

STAGES = ("search", "quantize", "generate", "benchmark")  # later stages win where names meet


def load(root: Path, target: str) -> dict[str, Any]:
    """All metrics of a board, with `latency_prediction_error`: what the search predicted against the emulator's count.

    Raises UserError naming the first file that is missing.
    """
    merged: dict[str, Any] = {}
    for stage in STAGES:
        merged |= read_json(required(root / "metrics" / target / f"{stage}.json"))
    if merged.get("cycles_predicted") and merged.get("cycles_est"):
        merged["latency_prediction_error"] = round(merged["cycles_predicted"] / merged["cycles_est"] - 1, 4)
    return merged


def warning(metrics: Mapping[str, Any]) -> str | None:
    """What to say of an accuracy on the device that is near the one of a constant answer; None where it is not."""
    names = ("accuracy_device", "accuracy_constant", "images")
    return constant_warning(*(metrics[name] for name in names)) if metrics.keys() >= {*names} else None


def required(path: Path) -> Path:
    """`path`, a result of the pipeline. Raises UserError where it is missing."""
    if not path.exists():
        raise UserError(f"{path} is missing: run `make run` or `dvc repro`, in a fresh clone `dvc repro --pull`")
    return path
