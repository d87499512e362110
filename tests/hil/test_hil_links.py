"""The same firmware over QEMU's socket and over a serial port; processes that die or fall silent."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import patchline
from patchline import targets
from patchline.errors import UserError
from patchline.hil import process, qemu, sessions
from patchline.hil.client import Client
from patchline.hil.isolate import Job, call, stream, unwind_on_sigterm
from patchline.hil.outcome import RunError
from patchline.hil.process import ProcessBoard
from patchline.hil.serial_port import SerialBoard
from patchline.hil.sessions import Inference, Setup, StackUse
from patchline.hil.unicorn_board import UnicornBoard

needs_qemu = pytest.mark.skipif(bool(qemu.unavailable_because()), reason=qemu.unavailable_because() or "QEMU is there")


@needs_qemu
@pytest.mark.parametrize("name", ["mps2-an386", "mps2-an500"])
def test_qemu_and_unicorn_agree_on_outputs_and_instructions(tiny, images, reference, name) -> None:
    elf = tiny(name, "REPEAT=2000")
    setup = Setup(elf.path, name)
    *theirs, ended = call(sessions.over_link, setup, "qemu", [0, 1, 2], images, timeout_s=60)
    mine = [i for i in call(sessions.traced, setup, [0, 1, 2], images, timeout_s=60) if isinstance(i, Inference)]
    assert isinstance(ended, StackUse)
    for ours, other, image in zip(mine, theirs, images, strict=True):
        assert np.array_equal(ours.outputs, reference(image))
        assert np.array_equal(other.outputs, reference(image))
        assert ours.instructions is not None and ours.instructions > 80_000
        assert other.instructions == pytest.approx(ours.instructions, rel=0.001)


@needs_qemu
@pytest.mark.parametrize(
    ("define", "text"), [("BREAK_WRITE=0x30000000u", "0x30000000"), ("BREAK_UNDEFINED", "Undefined Instruction")]
)
def test_qemu_names_a_fault(tiny, images, define, text) -> None:
    link = qemu.QemuBoard(tiny("mps2-an386", define), targets.load("mps2-an386"))
    try:
        client = Client(link, timeout_s=20)
        client.boot()
        with pytest.raises(RunError, match=text) as caught:
            client.infer(images[0])
        assert caught.value.kind == "fault"
    finally:
        link.close()


@needs_qemu
def test_a_silent_device_is_a_hang(tiny, images) -> None:
    link = qemu.QemuBoard(tiny("mps2-an386", "BREAK_LOOP"), targets.load("mps2-an386"))
    try:
        client = Client(link, timeout_s=1)
        client.boot()
        with pytest.raises(RunError, match="no answer") as caught:
            client.infer(images[0])
        assert caught.value.kind == "hang"
    finally:
        link.close()


def test_a_board_on_a_serial_port(tiny, images, reference) -> None:
    """A pseudo terminal stands for the port, an emulated board for the real one behind it."""
    board = UnicornBoard(tiny("stm32f412"), targets.load("stm32f412"))
    master, slave = pty.openpty()
    tty.setraw(slave)
    running = True

    def device() -> None:
        while running:
            board.write(os.read(master, 4096))
            os.write(master, board.read(0))

    board.read(0)  # booted long ago
    thread = threading.Thread(target=device, daemon=True)
    thread.start()
    link = SerialBoard(os.ttyname(slave), 115_200)
    client = Client(link, timeout_s=20)
    assert client.command("name").lines[-1] == "m-name-dut-[tiny]"
    client.infer(images[2])
    assert np.array_equal(client.outputs(), reference(images[2]))
    running = False
    link.write(b"name%")
    thread.join(timeout=5)
    link.close()


def test_a_serial_port_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="cannot open the serial port"):
        SerialBoard("/dev/no-such-port", 115_200)


def counts(until: int) -> Iterator[int]:
    yield from range(until)


def dies() -> Iterator[int]:
    yield 1
    os._exit(7)


def sleeps() -> Iterator[int]:
    yield 1
    time.sleep(60)


def fails() -> Iterator[int]:
    yield 1
    raise RunError("fault", "so it goes", op=3, pc=0x0800_0100, address=0x2000_0000)


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [(dies, "crash", "exit code 7"), (sleeps, "timeout", "nothing for"), (fails, "fault", "so it goes")],
)
def test_a_process_that_ends_badly_is_a_typed_error(job, kind, text) -> None:
    seen = []
    with pytest.raises(RunError, match=text) as caught:
        seen.extend(stream([Job(job, ()), Job(sleeps, ())], silence_s=45 if job is not sleeps else 0.5))
    assert caught.value.kind == kind
    if job is fails:
        assert (caught.value.op, caught.value.pc, caught.value.address) == (3, 0x0800_0100, 0x2000_0000)


def test_results_of_several_processes_come_together() -> None:
    assert sorted(stream([Job(counts, (3,)), Job(counts, (2,))], silence_s=30)) == [0, 0, 1, 1, 2]


def test_the_programs_main_module_is_not_imported_again(tmp_path) -> None:
    (tmp_path / "job.py").write_text("def job():\n    yield 5\n")
    (tmp_path / "main.py").write_text(
        "print('imported', flush=True)\n"
        "from job import job\n"
        "from patchline.hil.isolate import Job, stream\n"
        "if __name__ == '__main__':\n"
        "    print(list(stream([Job(job, ())], silence_s=60)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(patchline.__file__).parents[1])}
    command = [sys.executable, tmp_path / "main.py"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["imported", "[5]"]


class SleepingBoard(ProcessBoard):
    """An emulator that only sleeps, and does not listen to SIGTERM if it is `stubborn`."""

    def __init__(self, stubborn: bool = False) -> None:
        super().__init__("Sleep")
        with self._starting():
            self._start(["sh", "-c", f"{'trap : TERM; echo deaf; ' if stubborn else ''}while :; do sleep 0.1; done"])

    def explain(self) -> None:
        return None

    def places(self) -> tuple[int, str]:
        """Its process and its folder."""
        assert self._process is not None
        return self._process.pid, str(self._folder)


def owns_an_emulator(then: str) -> Iterator[tuple[int, str]]:
    unwind_on_sigterm()
    board = SleepingBoard()
    try:
        yield board.places()
        if then == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    finally:
        board.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("then", ["is told to end", "is killed"])
def test_no_emulator_survives_the_process_that_started_it(then) -> None:
    running = stream([Job(owns_an_emulator, (then,))], silence_s=60)
    pid, folder = next(running)
    if then == "is killed":
        with pytest.raises(RunError, match="exit code -9"):
            next(running)
        shutil.rmtree(folder)
    running.close()
    end = time.monotonic() + 5
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not runs(pid)
    assert not Path(folder).exists()


BENCH = """
from pathlib import Path
import numpy as np
from patchline.hil import sessions
from patchline.hil.isolate import Job, stream
images = np.zeros((1, 8, 8, 2), np.int8)
jobs = [Job(sessions.over_link, (sessions.Setup(Path({elf!r}), "mps2-an386"), "qemu", [i], images)) for i in range(2)]
list(stream(jobs, silence_s=60))
"""


def descendants(pid: int) -> dict[int, str]:
    """Processes below `pid` that run, with their names."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = stat.read_text().rpartition(")")
            number, name = head.split(" (", 1)
            found[int(number)] = (int(tail.split()[1]), name)
    below, names = {pid}, {}
    while more := {number for number, (parent, _) in found.items() if parent in below} - below:
        below |= more
        names |= {number: found[number][1] for number in more}
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a process with its parent")
@pytest.mark.parametrize("program", ["a pretender", pytest.param("QEMU", marks=needs_qemu)])
def test_no_emulator_survives_a_bench_that_is_killed(tiny, request, tmp_path, program) -> None:
    """SIGKILL leaves no time to close anything; the emulators hang, so that nobody else ends either."""
    if program != "QEMU":
        request.getfixturevalue("pretender").write_text("#!/bin/sh\nexec sleep 60\n")
    name = "qemu-system-arm" if program == "QEMU" else "sleep"
    script = BENCH.format(elf=str(tiny("mps2-an386", "BREAK_LOOP").path))
    source = str(Path(patchline.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "TMPDIR": str(tmp_path)}  # which nobody is left to empty
    bench = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        end = time.monotonic() + 30
        while list((below := descendants(bench.pid)).values()).count(name[:15]) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert list(below.values()).count(name[:15]) == 2
    finally:
        bench.kill()
        bench.wait()
    end = time.monotonic() + 1
    while any(map(runs, below)) and time.monotonic() < end:
        time.sleep(0.02)
    assert {pid: what for pid, what in below.items() if runs(pid)} == {}


def test_an_emulator_that_does_not_listen_is_killed(monkeypatch) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT_S", 0.3)
    board = SleepingBoard(stubborn=True)
    while "deaf" not in board._text():
        time.sleep(0.01)
    pid, folder = board.places()
    board.close()
    assert not runs(pid)
    assert not Path(folder).exists()
    board.close()


@pytest.fixture
def pretender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands for QEMU; the test writes it. What it starts with is in `pid` beside it."""
    program = tmp_path / "qemu"
    program.touch(0o755)
    monkeypatch.setenv("QEMU_SYSTEM_ARM", str(program))
    return program


def test_an_emulator_that_ends_at_once_is_not_waited_for(tiny, pretender) -> None:
    pretender.write_text("#!/bin/sh\necho no such machine >&2\nexit 3\n")
    start = time.monotonic()
    with pytest.raises(RunError, match=r"QEMU ended \(exit code 3\): no such machine") as caught:
        qemu.QemuBoard(tiny("mps2-an386"), targets.load("mps2-an386"))
    assert caught.value.kind == "crash"
    assert time.monotonic() - start < 10  # of the 20 s that it may take to start


@pytest.mark.parametrize("how", [KeyboardInterrupt, None])
def test_an_emulator_that_does_not_come_up_is_stopped(tiny, pretender, monkeypatch, how) -> None:
    pretender.write_text("#!/bin/sh\necho $$ > $0.pid\necho thinking\nexec sleep 60\n")
    if how is not None:

        def interrupted(board: qemu.QemuBoard) -> None:
            while not (board._folder / "log").read_text():
                time.sleep(0.01)
            raise how

        monkeypatch.setattr(qemu.QemuBoard, "_check_alive", interrupted)
    with pytest.raises(how or RunError, match=None if how else "did not open its UART within 1 s: thinking"):
        qemu.QemuBoard(tiny("mps2-an386"), targets.load("mps2-an386"), start_timeout_s=1)
    assert not runs(int(pretender.with_name("qemu.pid").read_text()))


def test_a_variable_that_names_no_program_is_said(monkeypatch) -> None:
    monkeypatch.setenv("QEMU_SYSTEM_ARM", "/no/such/qemu")
    assert qemu.unavailable_because() == "$QEMU_SYSTEM_ARM names /no/such/qemu, which is no program"
