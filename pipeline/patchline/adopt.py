"""Brings the pipeline into another repository: its files, cut loose from Patchline's own sources."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import patchline
from patchline.errors import UserError
from patchline.files import write_bytes, write_text

VERSION_FILE = "requirements-patchline.txt"
SECTION = ("# >>> patchline", "# <<< patchline")


@dataclass(frozen=True)
class Adopted:
    """Paths relative to the repository: `written` now, `kept` because they were the same already."""

    written: tuple[str, ...]
    kept: tuple[str, ...]


def adopt(root: Path, *, force: bool = False) -> Adopted:
    """Write dvc.yaml, params.yaml, stages/, firmware_template/, the CI workflow and ignore sections below `root`.

    Nothing that differs is overwritten without `force`: UserError lists every such file and nothing is written. Where
    DVC is not set up yet, `dvc init` does it.
    """
    if not (root / ".git").exists():
        raise UserError(f"{root} is not the root of a git repository: run `git init` there first")
    content = project_files(root.resolve().name)
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
    written += [name for name, text in _ignores().items() if _write_section(root / name, text)]
    if not (root / ".dvc").exists():
        _dvc_init(root)
        written.append(".dvc/")
    return Adopted(tuple(written), tuple(name for name in content if name not in written))


def project_files(project: str) -> dict[str, bytes]:
    """Path -> content of everything that `adopt` writes, for a repository named `project`."""
    from patchline.codegen.generate import template_folder

    source = _source()
    found = {
        "dvc.yaml": _dvc_yaml((source / "dvc.yaml").read_text(encoding="utf-8")).encode(),
        "params.yaml": _params_yaml((source / "params.yaml").read_text(encoding="utf-8"), project).encode(),
        VERSION_FILE: f"patchline=={patchline.__version__}\n".encode(),
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


def _params_yaml(text: str, project: str) -> str:
    """Own photos as the source, the repository's name as the project's, limits wider than the example's."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", project).lstrip("._-")[:63] or "project"
    changes: Mapping[str, str] = {
        r"^project: .*$": f"project: {name}",
        r"^  source: \S+": "  source: folder",
        r"^  sram_budget: \S+": "  sram_budget: 30KB",
        r"^  max_macs: \S+": "  max_macs: 8M  ",
    }
    for pattern, replacement in changes.items():
        text, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
        if count != 1:
            raise UserError("params.yaml of this installation is not as expected: install Patchline's wheel again")
    return text


def _ignores() -> dict[str, str]:
    results = (
        "/data/raw/\n/data/prepared/\n/models/\n/metrics/\n/plots/\n/build/\n/.patchline/\n/mlflow.db*\n/mlartifacts/\n"
    )
    return {
        ".gitignore": f".venv/\n__pycache__/\n{results}",
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
