"""Everything that is generated for Renode, as golden texts; a real run where Renode is present."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.errors import UserError
from patchline.hil import renode, sessions
from patchline.hil.isolate import call
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
machine LoadPlatformDescription @/some/where/board.repl
sysbus LoadELF @/some/where/firmware.elf
emulation SetAdvanceImmediately true
emulation CreateServerSocketTerminal 4321 "uart" false
connector Connect sysbus.usart2 uart
cpu AddHook 0x08000100 "self.InfoLog('patchline-count infer-enter ' + str(self.ExecutedInstructions))"
cpu AddHook 0x08000140 "self.InfoLog('patchline-count infer-leave ' + str(self.ExecutedInstructions))"
start
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
    assert renode.platform_text(targets.load("stm32f746")) == PLATFORM_F746
    assert renode.platform_text(targets.load("stm32h743")) == PLATFORM_H743


def test_script() -> None:
    where = Path("/some/where")
    marks = {"infer-enter": (0x0800_0100,), "infer-leave": (0x0800_0140,)}
    board = targets.load("stm32f412")
    assert renode.script_text(board, where / "firmware.elf", where / "board.repl", 4321, marks) == SCRIPT_F412
    assert renode.command("renode", where / "board.resc") == [
        "renode", "--disable-xwt", "--console", "--plain", "-e", "include @/some/where/board.resc",
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


@pytest.mark.skipif(bool(renode.why_not()), reason=renode.why_not() or "Renode is there")
@pytest.mark.parametrize("name", ["stm32f412", "stm32f746", "stm32h743"])
def test_renode_and_unicorn_agree(tiny, images, reference, name) -> None:
    elf = tiny(name, "REPEAT=2000")
    setup = Setup(elf.path, name)
    theirs = [
        i for i in call(sessions.linked, setup, "renode", [0, 1], images[:2], timeout_s=120) if isinstance(i, Inference)
    ]
    mine = [i for i in call(sessions.traced, setup, [0, 1], images[:2], timeout_s=60) if isinstance(i, Inference)]
    for ours, other, image in zip(mine, theirs, images[:2], strict=True):
        assert np.array_equal(other.outputs, reference(image))
        assert other.instructions == pytest.approx(ours.instructions, rel=0.001)
