"""Everything that is generated for Renode, as golden texts; runs on a stand-in, and on Renode where it is present."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

import patchline
from patchline import targets
from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil import renode, sessions
from patchline.hil.client import Client
from patchline.hil.isolate import call
from patchline.hil.outcome import RunError
from patchline.hil.sessions import Inference, Setup

PLATFORM_F746 = """\
using "platforms/cpus/stm32f746.repl"

cpu:
    cpuType: "cortex-m7"
    PerformanceInMips: 216

sram:
    size: 0x50000

flash:
    size: 0x100000

dwt: Miscellaneous.DWT @ sysbus 0xE0001000
    frequency: 216000000

sysbus:
    init:
        Tag <0xE0042000, 0xE0042003> "DBGMCU_IDCODE"
"""

PLATFORM_F412 = """\
using "platforms/cpus/stm32f412.repl"

cpu:
    cpuType: "cortex-m4"
    PerformanceInMips: 100

sram:
    size: 0x40000

flash:
    size: 0x100000

dwt: Miscellaneous.DWT @ sysbus 0xE0001000
    frequency: 100000000

usart2:
    frequency: 4000000000

sysbus:
    init:
        Tag <0xE0042000, 0xE0042003> "DBGMCU_IDCODE"
"""

PLATFORM_H743 = """\
using "platforms/cpus/stm32h743.repl"

cpu:
    cpuType: "cortex-m7"
    PerformanceInMips: 480

axiSram:
    size: 0x80000

flashBank1:
    size: 0x100000

flashBank2:
    size: 0x100000

dwt: Miscellaneous.DWT @ sysbus 0xE0001000
    frequency: 480000000
"""

SCRIPT_F412 = """\
using sysbus
mach create "patchline"
machine LoadPlatformDescription @/some\\ where/board.repl
sysbus LoadELF @/some\\ where/firmware.elf
emulation SetAdvanceImmediately true
emulation SetGlobalQuantum "0.00002"
emulation CreateServerSocketTerminal 4321 "uart" false
connector Connect sysbus.usart2 uart
cpu AddHook 0x08000100 "self.InfoLog('patchline-count infer-enter ' + str(self.ExecutedInstructions))"
cpu AddHook 0x08000140 "self.InfoLog('patchline-count infer-leave ' + str(self.ExecutedInstructions))"
start
log "patchline-ready" 1
"""

LOG = """\
12:00:00.1 [INFO] cpu: patchline-count infer-enter 1000
12:00:00.1 [INFO] cpu: patchline-count row-enter 1100
12:00:00.2 [WARNING] sysbus: something else
12:00:00.2 [INFO] cpu: patchline-count row-leave 5100
12:00:00.2 [INFO] cpu: patchline-count infer-leave 5400
12:00:00.3 [INFO] cpu: patchline-count infer-enter 9000
12:00:00.3 [INFO] cpu: patchline-count infer-leave 9500
"""


def test_platforms() -> None:
    assert renode.platform_text(targets.load("stm32f412")) == PLATFORM_F412
    assert renode.platform_text(targets.load("stm32f746")) == PLATFORM_F746
    assert renode.platform_text(targets.load("stm32h743")) == PLATFORM_H743


def test_script() -> None:
    where = Path("/some where")
    marks = {"infer-enter": (0x0800_0100,), "infer-leave": (0x0800_0140,)}
    board = targets.load("stm32f412")
    assert renode.script_text(board, where / "firmware.elf", where / "board.repl", 4321, marks) == SCRIPT_F412
    assert renode.command("renode", where / "board.resc") == [
        "renode", "--disable-xwt", "--console", "--plain", "-e", "include @/some\\ where/board.resc",
    ]  # fmt: skip


def test_counts_leave_out_the_wait_for_rows() -> None:
    assert renode.counts(LOG) == [400, 500]


def test_hooks_stand_on_entries_and_returns(tiny) -> None:
    elf = tiny("stm32f412")
    marks = renode.count_marks(elf)
    assert marks["infer-enter"] == (elf.symbols["pl_infer"].address,)
    assert set(marks) == {"infer-enter", "infer-leave", "row-enter", "row-leave"}
    for name in ("infer", "row"):
        symbol = elf.symbols["pl_infer" if name == "infer" else "board_read_row"]
        assert marks[f"{name}-leave"]
        assert all(symbol.address < a < symbol.address + symbol.size for a in marks[f"{name}-leave"])


def test_a_board_without_a_platform() -> None:
    with pytest.raises(UserError, match="Renode has no platform for stm32l4r5"):
        renode.platform_text(targets.load("stm32l4r5"))


def test_what_speeds_renode_up_is_the_boards_affair(tmp_path: Path) -> None:
    text = (targets.FOLDER / "stm32f412.yaml").read_text()
    bare = tmp_path / "bare.yaml"
    bare.write_text(text.replace(",\n   uart_frequency: 4_000_000_000, quantum_s: 0.00002", ""))
    board = targets.load_file(bare)
    assert "usart2" not in renode.platform_text(board)
    assert "Quantum" not in renode.script_text(board, Path("a"), Path("b"), 1, {})


def test_a_folder_that_no_script_can_name() -> None:
    for name in ("a;b", "a\\b", "a\tb"):
        with pytest.raises(UserError, match="set TMPDIR to a folder without backslash, semicolon, tab or line break"):
            renode.command("renode", Path("/tmp") / name)


def test_accesses_to_registers_that_the_platform_knows_by_name_are_no_faults(tiny) -> None:
    line = "[WARNING] sysbus: [cpu: 0x8000630] {}ReadDoubleWord from non existing peripheral at 0x40021000."
    firmware = tiny("stm32f412")
    assert renode.first_fault(line.format("(tag: 'RCC_CR') "), firmware) is None
    found = renode.first_fault("an [INFO] line\n" + line.format(""), firmware)
    assert found is not None and (found.pc, found.address) == (0x0800_0630, 0x4002_1000)
    abort = "[ERROR] cpu: CPU abort [PC=0x20000010]: Trying to execute code outside RAM or ROM at 0x20000014."
    found = renode.first_fault(abort, firmware)
    assert found is not None and (found.pc, found.address) == (0x2000_0010, 0x2000_0014)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`renode` is tests/hil/fake_renode.py, and temporary files lie in a folder with blanks and more in its name."""
    program = tmp_path / "renode"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("fake_renode.py")}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("RENODE", str(program))
    monkeypatch.setenv("PYTHONPATH", str(Path(patchline.__file__).parents[1]))
    temporary = tmp_path / "my own $(touch PWNED) `temporary` 'files' #1"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))


def open_board(firmware: Elf, **options: float) -> renode.RenodeBoard:
    return renode.RenodeBoard(firmware, targets.load("stm32f412"), **options)


def test_a_run_on_the_stand_in(tiny, images, reference, stand_in) -> None:
    link = open_board(tiny("stm32f412"))
    try:
        client = Client(link, timeout_s=20)
        client.boot()
        for image in images:
            client.infer(image)
            assert np.array_equal(client.outputs(), reference(image))
    finally:
        link.close()


def test_an_access_to_nothing_ends_the_run_with_pc_and_address(tiny, images, stand_in) -> None:
    """Renode goes on behind it, and the outputs would be right."""
    firmware = tiny("stm32f412", "BREAK_WRITE=0x30000040u")
    link = open_board(firmware)
    try:
        client = Client(link, timeout_s=20)
        client.boot()
        with pytest.raises(
            RunError, match=r"WriteDoubleWord at 0x30000040, where the board has nothing, at 0x"
        ) as caught:
            client.infer(images[0])
            client.outputs()
    finally:
        link.close()
    assert (caught.value.kind, caught.value.address) == ("fault", 0x3000_0040)
    fire = firmware.symbols["pl_fire"]
    assert caught.value.pc is not None and fire.address <= caught.value.pc < fire.address + fire.size


@pytest.mark.parametrize("command", ["machine LoadPlatformDescription", "connector Connect sysbus.usart2 uart"])
def test_an_error_in_the_script_is_renodes_own_words_at_once(tiny, stand_in, monkeypatch, command) -> None:
    """Before the terminal is open, and after."""
    monkeypatch.setenv("FAKE_RENODE", f"refuses {command}")
    start = time.monotonic()
    said = rf"does not take the script: There was an error executing command '{command}.*' / Parameters did not match"
    with pytest.raises(RunError, match=said) as caught:
        open_board(tiny("stm32f412"))
    assert caught.value.kind == "crash"
    assert time.monotonic() - start < 15  # of the 60 s that it may take to start


def test_a_script_that_stops_without_a_word_is_noticed(tiny, stand_in, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_RENODE", "forgets")
    with pytest.raises(RunError, match="did not come to the end of its script within 3 s"):
        open_board(tiny("stm32f412"), start_timeout_s=3)


@pytest.mark.skipif(bool(renode.unavailable_because()), reason=renode.unavailable_because() or "Renode is there")
@pytest.mark.parametrize("name", ["stm32f412", "stm32f746", "stm32h743"])
def test_renode_and_unicorn_agree(tiny, images, reference, name) -> None:
    elf = tiny(name, "REPEAT=2000")
    setup = Setup(elf.path, name)
    ran = call(sessions.over_link, setup, "renode", [0, 1], images[:2], timeout_s=120)
    theirs = [i for i in ran if isinstance(i, Inference)]
    mine = [i for i in call(sessions.traced, setup, [0, 1], images[:2], timeout_s=60) if isinstance(i, Inference)]
    for ours, other, image in zip(mine, theirs, images[:2], strict=True):
        assert np.array_equal(other.outputs, reference(image))
        assert other.instructions == pytest.approx(ours.instructions, rel=0.001)
