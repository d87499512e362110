"""Set-up: one message where packages are missing and cannot be installed; a lock file without surprises."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASICS = ("bash", "cat", "cut", "dirname", "env", "git", "id", "ln", "mktemp", "rm", "sha256sum", "tail")


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


def _set_up(folder: Path, *arguments: str, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = {"PATH": str(programs or folder / "bin")}
    return subprocess.run([folder / "scripts" / "setup.sh", *arguments], env=path, capture_output=True, text=True)


def _finished(folder: Path) -> None:
    """As if the product were set up."""
    command = "cat requirements.lock pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1"
    stamp = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".patchline-setup").write_text(stamp)


def _programs(folder: Path, **scripts: str) -> Path:
    """Programs in `bin` that note their calls in a file, which is returned; `scripts` says what else each does."""
    calls = folder / "calls"
    for name, script in scripts.items():
        program = folder / "bin" / name
        program.unlink(missing_ok=True)  # a link to the real one, which would be written to
        program.write_text(f'#!/usr/bin/env bash\necho {name} "$@" >> {calls}\n{script}\n')
        program.chmod(0o755)
    return calls


AS_ROOT = 'if [ "$1" = -u ]; then echo 0; fi'  # what `id` answers
INSTALL = "apt-get install -y -q --no-install-recommends"


def test_without_apt_one_message_lists_what_to_install(bare: Path) -> None:
    result = _set_up(bare)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "and there is no apt-get here" in result.stderr
    for package in ("python3", "python3-venv", "gcc-arm-none-eabi", "libnewlib-arm-none-eabi"):
        assert f"  {package}\n" in result.stderr
    assert "  git\n" not in result.stderr
    assert "  cppcheck\n" not in result.stderr and "  cppcheck\n" in _set_up(bare, "tests").stderr
    assert not (bare / ".venv").exists()


@pytest.mark.parametrize("name", ["$(touch PWNED)", "`touch PWNED`", 'a"b', "a:b", "a\\b"])
def test_a_folder_that_no_environment_can_lie_in_is_refused(bare: Path, name: str) -> None:
    folder = bare / name
    shutil.copytree(bare / "scripts", folder / "scripts")
    result = _set_up(folder, programs=bare / "bin")
    assert result.returncode == 2
    assert f"error: no Python environment can lie in {folder}: move this folder to one without" in result.stderr
    assert not list(bare.rglob("PWNED"))


def test_a_finished_set_up_returns_at_once(bare: Path) -> None:
    _finished(bare)
    result = _set_up(bare)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_only_tests_need_is_installed_where_it_is_missing(bare: Path) -> None:
    _finished(bare)
    calls = _programs(bare, **{"apt-get": "", "cppcheck": "", "id": AS_ROOT})
    assert _set_up(bare, "tests").returncode == 0
    done = [line for line in calls.read_text().splitlines() if not line.startswith("id ")]
    assert done == ["apt-get update -q", f"{INSTALL} qemu-system-arm chromium fonts-liberation"]


@pytest.mark.parametrize("how", ["no apt", "no root", "apt fails"])
def test_tests_run_without_what_cannot_be_installed(bare: Path, how: str) -> None:
    """They skip then, each with its reason."""
    _finished(bare)
    programs = {"cppcheck": "", "chromium": "", "id": "echo 1000" if how == "no root" else AS_ROOT}
    if how != "no apt":
        programs["apt-get"] = "echo E: no network; exit 100"
    _programs(bare, **programs)
    result = _set_up(bare, "tests")
    assert result.returncode == 0
    note = "note: the tests that need one of these Debian packages will be skipped: qemu-system-arm\n"
    assert result.stderr == ("E: no network\n" if how == "apt fails" else "") + note


def test_ci_runs_the_commands_of_the_readme(bare: Path) -> None:
    (bare / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", bare / ".ci")
    calls = _programs(bare, **{"apt-get": f"ln -sf {bare}/make {bare}/bin/make", "id": AS_ROOT})
    (bare / "make").write_text(f'#!/usr/bin/env bash\necho make "$@" >> {calls}\n')
    (bare / "make").chmod(0o755)
    subprocess.run([bare / ".ci" / "run"], env={"PATH": str(bare / "bin")}, check=True)
    done = [line for line in calls.read_text().splitlines() if not line.startswith("id ")]
    assert done == ["apt-get update -q", f"{INSTALL} make ca-certificates", "make lint", "make test"]
    readme = (ROOT / "README.md").read_text()
    assert all(f"`{command}`" in readme or f"\n{command} " in readme for command in done[2:])


def test_the_lock_pins_every_dependency_and_names_no_place() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    locked = {_normal(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    extras = project["project"]["optional-dependencies"]  # those but two are for services that few have
    wanted += [line for line in (*extras["pipeline"], *extras["dev"]) if not line.startswith("patchline[")]
    assert not {_normal(re.split(r"[ ;<>=!~\[]", line, maxsplit=1)[0]) for line in wanted} - locked


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
