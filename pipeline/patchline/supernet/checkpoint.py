"""Checkpoints outside the pipeline's outputs, because DVC deletes a stage's outputs before it runs it again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from patchline.files import hash_file, replacing

KEPT = 3  # folders; older ones belong to parameters that are no longer in use


def run_key(settings: Any, data: Any, *code: Path) -> str:
    """Hash of all that decides a run's result: settings and data (as JSON values), source files, torch's version."""
    sources = [[path.name, hash_file(path)] for path in sorted(code)]
    content = json.dumps([settings, data, sources, torch.__version__], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write `state` in one step and remove the folders of all but the latest runs."""
    with replacing(folder / "state.pt") as temporary:
        torch.save(state, temporary)
    others = sorted((p for p in folder.parent.iterdir() if p.is_dir() and p != folder), key=lambda p: p.stat().st_mtime)
    for old in others[: max(0, len(others) - KEPT + 1)]:
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The state last saved in `folder`, or None."""
    path = folder / "state.pt"
    return torch.load(path, weights_only=True) if path.exists() else None
