"""Laying down the raw data: the hash is DVC's own, another version is refused, a clean clone is not stale."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patchline.config import DataParams
from patchline.data import raw
from patchline.data.fashion_mnist import FILES
from patchline.errors import UserError


def _dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What the Debian package installs, in small."""
    folder = tmp_path / "package"
    folder.mkdir()
    for number, name in enumerate(FILES):
        (folder / name).write_bytes(bytes([number]) * 100)
    return folder


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with DVC in it; made once, because DVC takes seconds to start."""
    folder = tmp_path_factory.mktemp("project")
    subprocess.run(["git", "init", "-q"], check=True, cwd=folder)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True, cwd=folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, empty_project: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone: data/raw.dvc pins the package's files, DVC's cache is empty, data/raw does not exist."""
    folder = tmp_path / "project"
    shutil.copytree(empty_project, folder)
    monkeypatch.chdir(folder)
    (folder / "data").mkdir()
    pinned = raw.folder_hash(package)
    (folder / "data" / "raw.dvc").write_text(f"outs:\n- md5: {pinned}\n  hash: md5\n  path: raw\n")
    return folder


PARAMS = DataParams()


def test_a_clean_clone_is_filled_and_not_stale(project: Path, package: Path) -> None:
    folder = project / "data" / "raw"
    assert raw.fetch(PARAMS, package).origin == "package"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["raw", "raw.dvc"]
    _dvc("status", "-q", "data/raw.dvc")  # its exit code says stale
    assert raw.fetch(PARAMS, package).origin == "present"

    shutil.rmtree(folder)
    assert raw.fetch(PARAMS, project / "nowhere").origin == "dvc"  # from the cache, without the package
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_another_version_names_both_hashes_and_changes_nothing(project: Path, package: Path) -> None:
    pinned = raw.folder_hash(package)
    (package / FILES[0]).write_bytes(b"newer")
    with pytest.raises(UserError) as caught:
        raw.fetch(PARAMS, package)
    assert pinned in str(caught.value)
    assert raw.folder_hash(package) in str(caught.value)
    assert not (project / "data" / "raw").exists()


def test_changed_raw_data_are_not_overwritten(project: Path, package: Path) -> None:
    shutil.copytree(package, project / "data" / "raw")
    mine = project / "data" / "raw" / FILES[0]
    mine.write_bytes(b"mine")
    with pytest.raises(UserError, match="dvc add data/raw") as caught:
        raw.fetch(PARAMS, package)
    assert raw.folder_hash(package) in str(caught.value)
    assert mine.read_bytes() == b"mine"


def test_a_missing_package_names_the_command(project: Path) -> None:
    with pytest.raises(UserError, match="apt-get install dataset-fashion-mnist"):
        raw.fetch(PARAMS, project / "nowhere")


def test_a_missing_pin_names_the_remedy(project: Path, package: Path) -> None:
    (project / "data" / "raw.dvc").unlink()
    with pytest.raises(UserError, match="git checkout"):
        raw.fetch(PARAMS, package)


def test_own_photos_need_no_fetch() -> None:
    assert raw.fetch(DataParams(source="folder", folder="photos")).origin == "own"


def test_the_hash_is_dvcs_own(project: Path) -> None:
    folder = project / "data" / "mixed"
    (folder / "b").mkdir(parents=True)
    for name in ("b/1", "b-c", "a", "B"):
        (folder / name).write_text(name)
    _dvc("add", "-q", "data/mixed")
    assert raw.folder_hash(folder) == raw.pinned_hash(folder)
