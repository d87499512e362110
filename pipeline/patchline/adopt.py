"""Brings the pipeline into another repository: its files, cut loose from Patchline's own sources."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import patchline
from patchline.data.folder import photos_per_class
from patchline.errors import UserError
from patchline.extras import PIPELINE
from patchline.files import write_bytes, write_text

VERSION_FILE = "requirements-patchline.txt"
PHOTOS = "data/raw"  # where they lie unless a folder is named
SECTION = ("# >>> patchline", "# <<< patchline")


@dataclass(frozen=True)
class Adopted:
    """Paths relative to the repository: `written` now, `kept` because they were the same already.

    `photos` is the folder with the photos; `classes` tells how many were found where that folder was named.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]
    photos: str
    classes: Mapping[str, int]


def adopt(root: Path, *, photos: Path | None = None, force: bool = False) -> Adopted:
    """Write dvc.yaml, params.yaml, stages/, firmware_template/, the CI workflow and ignore sections below `root`.

    `photos` is a folder below `root` with a sub-folder per class; None: data/raw, which may be filled later. Nothing
    that differs is overwritten without `force`: UserError lists every such file and nothing is written. Where DVC is
    not set up yet, `dvc init` does it.
    """
    if not (root / ".git").exists():
        raise UserError(f"{root} is not the root of a git repository: run `git init` there first")
    classes = {} if photos is None else photos_per_class(photos)
    folder = PHOTOS if photos is None else _below(root, photos)
    content = project_files(root.resolve().name, folder)
    different = [name for name, data in content.items() if _differs(root / name, data)]
    if different and not force:
        raise UserError(
            "these files exist with other content:\n  "
            + "\n  ".join(different)
            + "\n`patchline init --force` replaces them"
        )
    written = []
    for name, data in content.items():
        if not (root / name).exists() or name in different:
            write_bytes(root / name, data)
            written.append(name)
    written += [name for name, text in _ignores(folder).items() if _write_section(root / name, text)]
    if not (root / ".dvc").exists():
        _dvc_init(root)
        written.append(".dvc/")
    return Adopted(tuple(written), tuple(name for name in content if name not in written), folder, classes)


def _below(root: Path, photos: Path) -> str:
    if root.resolve() not in photos.resolve().parents:
        raise UserError(
            f"{photos} is not a folder inside the repository, where DVC could track it: copy it with\n"
            f"  mkdir -p data && cp -r {shlex.quote(str(photos))} {PHOTOS}\n"
            f"and run `patchline init --photos {PHOTOS}`"
        )
    return photos.resolve().relative_to(root.resolve()).as_posix()


def project_files(project: str, photos: str = PHOTOS) -> dict[str, bytes]:
    """Path -> content of all that `adopt` writes, for a repository named `project` with its photos in `photos`."""
    from patchline.codegen.generate import template_folder

    source = _source()
    found = {
        "dvc.yaml": _dvc_yaml((source / "dvc.yaml").read_text(encoding="utf-8")).encode(),
        "params.yaml": _params_yaml((source / "params.yaml").read_text(encoding="utf-8"), project, photos).encode(),
        VERSION_FILE: f"patchline[{PIPELINE}]=={patchline.__version__}\n".encode(),
        ".github/workflows/patchline.yml": (source / ".github/workflows/patchline.yml").read_bytes(),
    }
    for folder, name in ((source / "stages", "stages"), (template_folder(), "firmware_template")):
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not {"__pycache__", "build"} & set(relative.parts):
                found[f"{name}/{relative}"] = path.read_bytes()
    return found


def _source() -> Path:
    """Where the pipeline's files lie: in the installed package, or at the root of Patchline's repository."""
    package = Path(patchline.__file__).parent
    for folder in (package / "project", package.parent.parent):
        if (folder / "dvc.yaml").is_file() and (folder / "stages").is_dir():
            return folder
    raise UserError("the pipeline's files are missing from this installation: install Patchline's wheel again")


def _dvc_yaml(text: str) -> str:
    """The pipeline depends on the pinned version of the package instead of on its sources."""
    lines: list[str] = []
    for line in text.splitlines():
        if re.match(r"\s+- pipeline/patchline", line):
            line = re.sub(r"- .*", f"- {VERSION_FILE}", line)
            if line in lines[_last_deps(lines) :]:
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _last_deps(lines: list[str]) -> int:
    return max((i for i, line in enumerate(lines) if line.strip() == "deps:"), default=0)


def _params_yaml(text: str, project: str, folder: str) -> str:
    """Own photos in `folder` as the source, the repository's name as the project's; nothing tuned to the scenes."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", project).lstrip("._-")[:63] or "project"
    changes: Mapping[str, str] = {
        r"^project: .*$": f"project: {name}",
        r"^  source: .*$": "  source: folder                       # a folder of photos per class",
        r"^  folder: .*$": f"  folder: {json.dumps(folder)}",
        r"^  counts: .*$": "  counts: {train: 80, val: 10, test: 10}   # proportions: all photos are used",
        r"^  epochs: .*$": "  epochs: auto                         # as many as make 1,500 steps of a batch",
        r"^  finetune_epochs: .*$": "  finetune_epochs: auto                # as many as make 250 steps of a batch",
        r"^  sram_budget: \S+": "  sram_budget: 30KB",
        r"^  max_macs: \S+": "  max_macs: 8M  ",
    }
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        if count != 1:
            raise UserError("params.yaml of this installation is not as expected: install Patchline's wheel again")
    return text


def _ignores(photos: str) -> dict[str, str]:
    results = "data/prepared/", "models/", "metrics/", "plots/", "build/", ".patchline/", "mlflow.db*", "mlartifacts/"
    mine = "".join(f"/{name}\n" for name in (f"{photos}/", *results))
    return {
        ".gitignore": f".venv/\n__pycache__/\n{mine}",
        ".dvcignore": "__pycache__/\n*.pyc\n.venv/\n.patchline/\n",
    }


def _write_section(path: Path, text: str) -> bool:
    """Put `text` between markers into an ignore file; other lines stay. False when it stood there already."""
    begin, end = SECTION
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    block = f"{begin}\n{text}{end}\n"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}\n", re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: block, before)
    else:
        after = before + ("" if before.endswith("\n") or not before else "\n") + block
    if after == before:
        return False
    write_text(path, after)
    return True


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def _dvc_init(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(f"`dvc init` failed: {done.stderr.strip()}")
