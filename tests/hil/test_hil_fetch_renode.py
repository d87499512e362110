"""The fetch script takes only the archive it was told to take, and says what to do when it cannot."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

from patchline.hil import programs

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_renode.py"


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_renode", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    return module


def archive(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        entry = tarfile.TarInfo("renode_1.16.1_portable/renode")
        entry.size, entry.mode = 5, 0o755
        tar.addfile(entry, io.BytesIO(b"hello"))
    return path


def test_the_pinned_version_is_the_one_the_bench_speaks_of(fetch) -> None:
    assert fetch.VERSION == programs.RENODE_VERSION
    assert Path(fetch.FOLDER) / "renode" == programs.RENODE.local
    assert all(len(fetch.expected_checksum(name)) == 64 for name in fetch.ARCHIVES.values())


def test_a_wrong_archive_is_refused(fetch, tmp_path, capsys) -> None:
    assert fetch.main(["--archive", str(archive(tmp_path / "a.tar.gz"))]) == 2
    assert "is expected" in capsys.readouterr().err
    assert not (tmp_path / ".renode").exists()


def test_the_right_archive_is_unpacked(fetch, tmp_path, monkeypatch) -> None:
    path = archive(tmp_path / "a.tar.gz")
    checksums = tmp_path / "sums"
    checksums.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {fetch.ARCHIVES['x86_64']}\n")
    monkeypatch.setattr(fetch.check, "__defaults__", (checksums,))
    monkeypatch.setattr(fetch.expected_checksum, "__defaults__", (checksums,))
    assert fetch.main(["--archive", str(path)]) == 0
    assert (tmp_path / ".renode" / "renode").read_text() == "hello"


def test_no_network(fetch, monkeypatch, capsys) -> None:
    monkeypatch.setattr(fetch, "RELEASE", "http://127.0.0.1:9")
    assert fetch.main([]) == 2
    assert "--archive FILE" in capsys.readouterr().err


def test_another_machine(fetch, monkeypatch, capsys) -> None:
    monkeypatch.setattr(fetch.platform, "machine", lambda: "riscv64")
    assert fetch.main([]) == 2
    assert "$RENODE" in capsys.readouterr().err
