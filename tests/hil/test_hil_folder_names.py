"""Folders whose names hold what make and shells take for their own: compiled and run in, never executed."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from patchline import build, codegen, targets
from patchline.build import host
from patchline.cli import app
from patchline.hil import qemu, sessions
from patchline.hil.isolate import call
from patchline.hil.sessions import Inference, Setup
from patchline.network import reference, serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import solve

pytestmark = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")

COMMAND = "out$(touch PWNED)x"
EVERYTHING = (
    "-o `touch PWNED` $(shell touch PWNED), 'quotes\", $HOME $$ ${PATH} #%;&|<>*?[b]!~ = : \\ \u00fc\u4f60"
    + "long" * 20
)


def network() -> Network:
    b = NetworkBuilder(8, 8, 3, seed=4, name="tiny")
    x = b.conv("input", 4, 3, 2)
    return b.finish(b.conv(b.global_pool(x), 3, relu=False))


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the name asked for, to work in; nothing that the name says may have happened in the end."""
    path = tmp_path / getattr(request, "param", EVERYTHING)
    path.mkdir()
    monkeypatch.chdir(path)
    yield path
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize("folder", [COMMAND, EVERYTHING], ids=["command", "everything"], indirect=True)
def test_compile_and_bench(folder: Path) -> None:
    serialize.save(network(), Path("model.npz"))
    output = f"{folder.name}/out"
    made = CliRunner().invoke(app, ["compile", "model.npz", "--target", "stm32f412", f"--output={output}"])
    assert made.exit_code == 0, made.output
    command = shlex.split(made.output.rpartition("run it: ")[2])
    assert command[:2] == ["patchline", "bench"] and Path(command[2]) == Path(output)
    run = CliRunner().invoke(app, ["bench", "--count=2", "--emulator=unicorn", "--", str(folder / output)])
    assert run.exit_code == 0, run.output
    assert shlex.split(run.output.rpartition("log it: ")[2]) == ["patchline", "track", str(folder / output)]


def test_the_host_build(folder: Path) -> None:
    model = network()
    images = np.random.default_rng(0).integers(-128, 128, (2, 8, 8, 3)).astype(np.int8)
    out = codegen.generate(model, solve(model, targets.load("stm32f412")).plan, None, "out")
    program = host.build(out, sanitize=True, shared=folder / "objects")
    found = host.run(program, model, images)
    assert np.array_equal(found[model.outputs[0]], reference.run_batch(model, images)[model.outputs[0]])


@pytest.mark.skipif(bool(qemu.unavailable_because()), reason=qemu.unavailable_because() or "QEMU is there")
def test_qemu(folder: Path, tiny, images, reference, monkeypatch) -> None:
    """The firmware and the temporary files lie in such a folder."""
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    firmware = folder / "firmware.elf"
    shutil.copy(tiny("mps2-an386").path, firmware)
    found, _ = call(sessions.over_link, Setup(firmware, "mps2-an386"), "qemu", [0], images[:1], timeout_s=60)
    assert isinstance(found, Inference)
    assert np.array_equal(found.outputs, reference(images[0]))
