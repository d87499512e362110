"""Which pipeline state lies in the work tree: the project's root, the state hash, whether files match dvc.lock."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patchline.errors import UserError
from patchline.files import hash_file

LOCK = "dvc.lock"


def work_root(start: str | Path | None = None) -> Path:
    """The nearest folder at or above `start` (default: here) that holds params.yaml or dvc.yaml."""
    found = project_root(start)
    if found is None:
        raise UserError(
            f"{Path(start or Path.cwd()).resolve()} is not inside a Patchline project (no dvc.yaml): change to one, or "
            "make one with `patchline init`"
        )
    return found


def project_root(start: str | Path | None = None) -> Path | None:
    """`work_root`, None where there is no project."""
    here = Path(start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").exists() or (folder / "params.yaml").exists():
            return folder
    return None


def store_root(root: Path) -> Path:
    """The folder that outlives the run and so holds the MLflow store.

    It is `root`, except when DVC runs an experiment in a temporary copy below .dvc/tmp/exps: then the repository that
    the copy belongs to, which DVC names in DVC_ROOT.
    """
    for parent in root.parents:
        if parent.name == "exps" and parent.parent.name == "tmp" and parent.parent.parent.name == ".dvc":
            return Path(os.environ.get("DVC_ROOT") or parent.parent.parent.parent).resolve()
    return root


def read_lock(root: Path) -> dict[str, Any]:
    """dvc.lock as plain data. UserError when the pipeline has not run."""
    from ruamel.yaml import YAML, YAMLError

    path = root / LOCK
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{LOCK} is not in {root}: run the pipeline first with `dvc repro` (or `make run`)") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML (a merge conflict?): {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise UserError(f"{path} lists no stages: run the pipeline first with `dvc repro`")
    return content


def pipeline_state(root: Path) -> str:
    """SHA-256 of dvc.lock without the `track` entry.

    Taken from the parsed content in canonical form, because DVC appends the `track` entry after that stage has run:
    the hash is the same inside the stage, after it, and in a fresh clone.
    """
    lock = read_lock(root)
    lock["stages"] = {name: entry for name, entry in lock["stages"].items() if name != "track"}
    return hashlib.sha256(json.dumps(lock, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def locked_hash(root: Path, stage: str, path: str) -> str:
    """DVC's MD5 of `path`, a dependency or an output of `stage` in dvc.lock; "" when it is not listed."""
    entry = read_lock(root)["stages"].get(stage, {})
    listed = [*entry.get("deps", []), *entry.get("outs", [])]
    return next((str(item.get("md5", "")) for item in listed if item.get("path") == path.rstrip("/")), "")


def check_fresh(root: Path, targets: tuple[str, ...]) -> None:
    """Raise UserError unless params.yaml and the metrics are those of dvc.lock: nothing false may be logged.

    Compares the parameters that each stage was locked with and the MD5 of every locked metrics file. Entries of targets
    that are no longer listed are passed over.
    """
    stale = [*_changed_params(root, targets), *_changed_metrics(root, targets)]
    if stale:
        raise UserError("the results do not belong to this state: " + "; ".join(stale) + ". Run `dvc repro` first")


def _entries(root: Path, targets: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for name, entry in read_lock(root)["stages"].items():
        _, _, target = name.partition("@")
        if name != "track" and (not target or target in targets):
            yield entry


def _changed_params(root: Path, targets: tuple[str, ...]) -> list[str]:
    from ruamel.yaml import YAML

    now = YAML(typ="safe").load((root / "params.yaml").read_text(encoding="utf-8"))
    changed: dict[str, str] = {}
    for entry in _entries(root, targets):
        for key, locked in entry.get("params", {}).get("params.yaml", {}).items():
            value = _lookup(now, key)
            if value != locked:
                changed[key] = f"params.yaml has {key} = {value}, the results were made with {locked}"
    return list(changed.values())


def _lookup(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _changed_metrics(root: Path, targets: tuple[str, ...]) -> list[str]:
    changed = []
    for entry in _entries(root, targets):
        for out in entry.get("outs", []):
            path = root / out["path"]
            locked = out.get("md5") if out["path"].startswith("metrics/") and path.is_file() else None
            if locked and hash_file(path, "md5") != locked:
                changed.append(f"{out['path']} is not the one in {LOCK}")
    return changed


def git(root: Path, *args: str) -> str:
    """Output of a git command in `root`, "" when it fails (not a repository, no commit yet, no git)."""
    try:
        done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
