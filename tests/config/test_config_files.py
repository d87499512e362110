"""Atomic writes, hashes and progress."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from patchline import files, progress


def test_a_failed_write_leaves_the_old_content_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_progress_in_a_log_says_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, 6)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    assert list(progress.track(range(6), "work")) == list(range(6))
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0] == "work: 1 of 6, 12 s, about 60 s left"


def test_progress_of_something_without_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(iter("ab"), "work")) == ["a", "b"]
    assert capsys.readouterr().err == ""
