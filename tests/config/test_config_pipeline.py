"""dvc.yaml against the code: a stage depends on the modules it runs, on no others, and on parameters that exist."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from patchline.config import Params
from patchline.files import read_yaml

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "pipeline"
STAGES: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")["stages"]

# Modules that carry no result of their own: a change in them must not train everything again.
PLUMBING = {"cli", "config", "errors", "extras", "files", "plugins", "progress", "targets"}

PARTS = "data/parts.py"

# Modules that a stage imports without using them for its result.
IMPORTED_ONLY = {
    # it reads what earlier stages wrote, and depends on their metrics; compiled.py is for `patchline track DIR`
    "track": {"build", "cores", "network", "schedule"},
}


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Files of the package that `path` imports anywhere in it, directly."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = {_file(name) for name in names if name.startswith("patchline.")}
    return frozenset(file for file in found if file is not None)


def _file(name: str) -> Path | None:
    path = SOURCE / name.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _files_run_by(script: Path) -> set[str]:
    """Files of the package that `script` reaches."""
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        for file in _imports(waiting.pop()) - seen:
            seen.add(file)
            waiting.append(file)
    return {file.relative_to(SOURCE / "patchline").as_posix() for file in seen}


def _top(files: set[str]) -> set[str]:
    """Top-level modules, the plumbing left out."""
    return {file.split("/")[0].removesuffix(".py") for file in files} - PLUMBING


@pytest.mark.parametrize("name", STAGES)
def test_stage_depends_on_the_modules_it_runs(name: str) -> None:
    stage = STAGES[name]
    script = ROOT / stage["cmd"].split()[1]
    assert script.relative_to(ROOT).as_posix() in stage["deps"]
    prefix = "pipeline/patchline/"
    listed = {dep.removeprefix(prefix) for dep in stage["deps"] if dep.startswith(prefix)}
    run = _files_run_by(script)
    if "data/prepared" in stage["deps"]:
        # reading them adds nothing to the files themselves; which part is taken does
        assert {file for file in listed if file.startswith("data")} == run & {PARTS}
        listed, run = ({file for file in files if not file.startswith("data/")} for files in (listed, run))
    assert _top(listed) == _top(run) - IMPORTED_ONLY.get(name, set())


@pytest.mark.parametrize("name", STAGES)
def test_parameters_exist(name: str) -> None:
    for key in STAGES[name].get("params", []):
        value: Any = Params()
        for part in key.split("."):
            assert part in type(value).model_fields, key
            value = getattr(value, part)


def test_search_ignores_where_the_study_is_kept() -> None:
    assert "search.storage" not in STAGES["search"]["params"]
    assert "search" not in STAGES["search"]["params"]


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if "matrix" in stage])
def test_a_stage_per_board_depends_on_no_other_board(name: str) -> None:
    boards = [dep for dep in STAGES[name]["deps"] if "targets" in dep]
    assert all(dep == "pipeline/patchline/targets/${item.target}.yaml" for dep in boards)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_page_and_the_rest_is_the_library(name: str) -> None:
    lines = (ROOT / STAGES[name]["cmd"].split()[1]).read_text().splitlines()
    assert len(lines) <= 75
