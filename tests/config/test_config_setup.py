"""Set-up: one message where packages are missing and cannot be installed; a lock file without surprises."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASICS = ("bash", "cat", "cut", "dirname", "env", "git", "id", "sha256sum")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with a folder `bin` that holds the basic tools and nothing else."""
    (tmp_path / "bin").mkdir()
    for name in BASICS:
        path = shutil.which(name)
        assert path is not None
        (tmp_path / "bin" / name).symlink_to(path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def _set_up(folder: Path) -> subprocess.CompletedProcess[str]:
    path = {"PATH": str(folder / "bin")}
    return subprocess.run([folder / "scripts" / "setup.sh"], env=path, capture_output=True, text=True)


def test_without_apt_one_message_lists_what_to_install(bare: Path) -> None:
    result = _set_up(bare)
    assert result.returncode == 2
    assert result.stdout == ""
    for package in ("python3", "python3-venv", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi"):
        assert f"  {package}\n" in result.stderr
    assert "  git\n" not in result.stderr
    assert not (bare / ".venv").exists()


def test_a_finished_set_up_returns_at_once(bare: Path) -> None:
    command = "cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1"
    stamp = subprocess.run(["bash", "-c", command], cwd=bare, capture_output=True, text=True, check=True).stdout
    (bare / ".venv").mkdir()
    (bare / ".venv" / ".patchline-setup").write_text(stamp)
    result = _set_up(bare)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_ci_installs_what_only_tests_need_where_it_is_missing(bare: Path) -> None:
    (bare / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", bare / ".ci")
    calls = bare / "calls"
    for name in ("apt-get", "make", "cppcheck", "sudo"):
        program = bare / "bin" / name
        program.write_text(
            '#!/usr/bin/env bash\nexec "$@"\n'
            if name == "sudo"
            else f'#!/usr/bin/env bash\necho {name} "$@" >> {calls}\n'
        )
        program.chmod(0o755)
    subprocess.run([bare / ".ci" / "run"], env={"PATH": str(bare / "bin")}, check=True)
    install = "apt-get install -y -q --no-install-recommends ca-certificates qemu-system-arm chromium fonts-liberation"
    assert calls.read_text().splitlines() == ["make lint", "apt-get update -q", install, "make test"]


def test_the_lock_pins_every_dependency_and_names_no_place() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    locked = {_normal(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += project["project"]["optional-dependencies"]["dev"]  # the other extras are for services that few have
    assert not {_normal(re.split(r"[ ;<>=!~\[]", line, maxsplit=1)[0]) for line in wanted} - locked


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
