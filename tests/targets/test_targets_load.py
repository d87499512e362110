"""Every board file loads and describes the board the data sheet describes; a wrong one is a clear message."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchline import targets
from patchline.errors import UserError

KB, MB = 1024, 1024 * 1024


@pytest.mark.parametrize(
    ("name", "core", "clock_mhz", "sram", "sram_kb", "flash_mb"),
    [
        ("stm32f412", "cortex-m4", 100, 0x2000_0000, 256, 1),
        ("stm32f746", "cortex-m7", 216, 0x2000_0000, 320, 1),
        ("stm32h743", "cortex-m7", 480, 0x2400_0000, 512, 2),
        ("stm32l4r5", "cortex-m4", 120, 0x2000_0000, 640, 2),
    ],
)
def test_chip_matches_its_data_sheet(
    name: str, core: str, clock_mhz: int, sram: int, sram_kb: int, flash_mb: int
) -> None:
    board = targets.load(name)
    assert (board.core, board.clock_hz) == (core, clock_mhz * 1_000_000)
    assert (board.sram.origin, board.sram.size) == (sram, sram_kb * KB)
    assert (board.flash.origin, board.flash.size) == (0x0800_0000, flash_mb * MB)
    assert board.fpu


def test_every_board_loads_and_runs_somewhere_without_hardware() -> None:
    assert len(targets.names()) >= 6
    for name in targets.names():
        board = targets.load(name)
        assert board.name == name
        assert "unicorn" in board.emulators


def test_an_unknown_board_names_the_closest_and_all() -> None:
    with pytest.raises(UserError, match=r"did you mean 'stm32f412'\?.*stm32h743"):
        targets.load("stm32f413")


def write(folder: Path, **changes: str) -> Path:
    text = (targets.FOLDER / "stm32f412.yaml").read_text()
    for key, value in changes.items():
        text = "\n".join(f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines())
    path = folder / "board.yaml"
    path.write_text(text)
    return path


def test_a_board_file_of_ones_own(tmp_path: Path) -> None:
    board = targets.load_file(write(tmp_path, sram="{origin: 0x2000_0000, size: 128KB}"))
    assert (board.name, board.sram.size) == ("board", 128 * KB)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"core": "cortex-m5"}, r"core: .*there are cortex-m4, cortex-m7 \(value 'cortex-m5'\)"),
        ({"sram": "{origin: 0x2000_0000, size: 1.5 apples}"}, r"sram.size: .*apples"),
        ({"sram": "{origin: 0x0800_0000, size: 64KB}"}, "flash and sram overlap"),
        ({"emulators": "[qemu]"}, "section 'qemu:' is missing"),
        ({"firmware": "{static_bytes: 1MB, stack_bytes: 1}"}, "do not fit the sram"),
        ({"clock_hz": "fast\nclokc: 3"}, "clokc"),
    ],
)
def test_a_wrong_board_file_names_key_and_value(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        targets.load_file(write(tmp_path, **changes))
