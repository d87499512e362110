"""The rooms from a network to its benchmark: each imports those before it, none imports one behind it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import patchline

SOURCE = Path(patchline.__file__).parent
ROOMS = ("targets", "network", "schedule", "codegen", "build", "hil")


def _imported_rooms(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("patchline.")} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_dependencies_point_one_way(room: str) -> None:
    behind = set(ROOMS[ROOMS.index(room) + 1 :])
    assert not _imported_rooms(SOURCE / room) & behind


def test_building_loads_no_emulator() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import patchline.build.host, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"capstone", "serial", "unicorn"} & set(loaded)
