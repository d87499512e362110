"""The command line: a command is a file, help is fast, a user's error is one message and an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from patchline import cli, doctor, files, summary
from patchline.config import Params
from patchline.errors import UserError

RUNNER = CliRunner()
MAIN = [sys.executable, "-c", "from patchline.cli import main; main()"]


def test_every_command_answers_help() -> None:
    names = cli.command_names()
    assert {"doctor", "fetch-data", "summary"} <= set(names)
    for name in names:
        result = RUNNER.invoke(cli.app, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom patchline.cli import main\nsys.argv = ['patchline', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'numpy', 'onnx', 'dvc', 'pydantic', 'optuna'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "fetch-data" in result.stdout


def test_a_user_error_is_one_message_and_its_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = subprocess.run([*MAIN, "fetch-data"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("error: params.yaml is not here")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_unknown_command_is_refused() -> None:
    result = RUNNER.invoke(cli.app, ["fetch"])
    assert result.exit_code == 2


def test_a_module_may_hold_sub_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("patchline.cli.pair")
    module.app = typer.Typer()  # type: ignore[attr-defined]

    @module.app.command()
    def one() -> None:
        raise UserError("no", exit_code=7)

    @module.app.command()
    def two() -> None:
        print("two")

    monkeypatch.setitem(sys.modules, "patchline.cli.pair", module)
    monkeypatch.setattr(cli, "command_names", lambda: ["pair"])
    assert RUNNER.invoke(cli.app, ["pair", "two"]).output == "two\n"
    assert RUNNER.invoke(cli.app, ["pair", "one"]).exit_code == 7


def test_doctor_names_what_is_missing_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [
        doctor.Check("git", "versions", True, None, "apt-get install git"),
        doctor.Check("renode", "emulates", False, None, "unpack it"),
        doctor.Check("gcc", "builds", True, "gcc 12", "apt-get install gcc"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    result = RUNNER.invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert "git: apt-get install git" in result.output
    assert "apt-get install gcc" not in result.output
    as_json = RUNNER.invoke(cli.app, ["doctor", "--json"])
    assert [item["name"] for item in json.loads(as_json.output)] == ["git", "renode", "gcc"]


def test_doctor_on_this_machine() -> None:
    found = {check.name: check for check in doctor.examine()}
    assert found["Python"].found
    assert found["git"].found
    assert found["Python packages"].found, found["Python packages"].purpose
    assert all(check.remedy or check.found for check in found.values())


def test_doctor_asks_for_no_packages_of_developers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        doctor.importlib.metadata, "requires", lambda _: ["numpy>=2", "no-such-tool>=1; extra == 'dev'", "absent>=1"]
    )
    check = next(check for check in doctor.examine() if check.name == "Python packages")
    assert (check.found, check.purpose) == (None, "missing: absent")


def test_doctor_says_how_in_a_repository_that_adopted_the_pipeline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def remedies() -> dict[str, str]:
        return {check.name: check.remedy for check in doctor.examine()}

    (tmp_path / "Makefile").write_text("all:\n")
    (tmp_path / doctor.VERSION_FILE).write_text("patchline==1\n")
    found = remedies()
    assert found["Python packages"] == "python -m pip install -r requirements-patchline.txt"
    assert "make" not in found["renode"]
    (tmp_path / "Makefile").write_text("setup: x\nrenode:\n")
    found = remedies()
    assert (found["Python packages"], found["renode"]) == ("make setup FORCE=1", "make renode")


def test_doctor_looks_for_emulators_where_the_bench_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RENODE", "QEMU_SYSTEM_ARM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".renode" / "renode"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Emulator v9\n")
    program.chmod(0o755)

    def found(name: str) -> str | None:
        return next(check.found for check in doctor.examine() if check.name == name)

    assert found("renode") == "Emulator v9"
    monkeypatch.setenv("QEMU_SYSTEM_ARM", str(program))
    assert found("qemu-system-arm") == "Emulator v9"
    monkeypatch.setenv("RENODE", "/no/such/renode")
    assert found("renode") is None


def test_doctor_works_where_packages_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "patchline.data.raw", None)  # importing it fails
    check = next(check for check in doctor.examine() if check.name == "raw data")
    assert check.found is None
    assert "Python packages first" in check.remedy


def test_summary_shows_every_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("targets: [stm32f412]\n")
    folder = tmp_path / "metrics" / "stm32f412"
    folder.mkdir(parents=True)
    (folder / "search.json").write_text('{"cycles_predicted": 980}')
    (folder / "quantize.json").write_text('{"accuracy_int8": 0.91}')
    (folder / "generate.json").write_text('{"sram_peak_bytes": 30000}')
    measured = {"accuracy_device": 0.9, "sram_peak_bytes": 30720, "cycles_est": 1000, "images": 500}
    files.write_json(folder / "benchmark.json", {**measured, "accuracy_constant": 0.8125})
    monkeypatch.chdir(tmp_path)
    result = RUNNER.invoke(cli.app, ["summary"])
    assert result.exit_code == 0, result.output
    for text in ("stm32f412", "0.9100", "0.9000", "0.8125", "30.0 KB", "-2.0%"):
        assert text in result.output
    assert "warning" not in result.output
    files.write_json(folder / "benchmark.json", {**measured, "accuracy_constant": 0.89})
    warned = RUNNER.invoke(cli.app, ["summary"]).output
    assert "stm32f412: warning: an accuracy of 0.9000 is hardly better" in warned
    assert json.loads(RUNNER.invoke(cli.app, ["summary", "--json"]).output)["stm32f412"]["sram_peak_bytes"] == 30720


def test_summary_before_a_run_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make run"):
        summary.collect(tmp_path, Params())
