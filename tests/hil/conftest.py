"""A tiny firmware of our own, compiled per test for any target: what the bench is tested with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.build import elf

SOURCE = Path(__file__).parent / "firmware" / "tiny.c"
STACK = 512

LINKER = """
MEMORY {{ FLASH (rx) : ORIGIN = {flash}, LENGTH = {flash_size}  SRAM (rwx) : ORIGIN = {sram}, LENGTH = {sram_size} }}
ENTRY(reset)
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) }} > FLASH
  {before}
  .bss (NOLOAD) : {{ bss_start = .; *(.arena) *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; }} > SRAM
  {behind}
}}
"""
STACK_SECTION = ".stack (NOLOAD) : {{ stack_low = .; . += {size}; stack_top = .; }} > SRAM"


Maker = Callable[..., elf.Elf]


@pytest.fixture
def tiny(tmp_path: Path) -> Maker:
    """Compile the tiny firmware: `tiny(target_name, "BREAK_LOOP", stack_first=True)`."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")

    def make(name: str, *defines: str, stack_first: bool = False) -> elf.Elf:
        board = targets.load(name)
        stack = STACK_SECTION.format(size=STACK)
        script = tmp_path / "tiny.ld"
        script.write_text(
            LINKER.format(
                flash=board.flash.origin,
                flash_size=board.flash.size,
                sram=board.sram.origin,
                sram_size=board.sram.size,
                before=stack if stack_first else "",
                behind="" if stack_first else stack,
            )
        )
        output = tmp_path / f"{name}.elf"
        flags = [f"-mcpu={board.core}", "-mthumb", "-mfloat-abi=soft", "-O2", "-ffreestanding", "-nostdlib"]
        flags += [
            f"-D{define}" for define in (f"UART_{board.uart.kind.upper()}", f"UART=0x{board.uart.base:x}u", *defines)
        ]
        subprocess.run(
            ["arm-none-eabi-gcc", *flags, "-T", script, SOURCE, "-lgcc", "-o", output], check=True, capture_output=True
        )
        return elf.load(output)

    return make


@pytest.fixture
def images() -> np.ndarray:
    """Three int8 images for the tiny firmware."""
    return np.random.default_rng(7).integers(-128, 128, (3, 8, 8, 2), dtype=np.int8)


def tiny_reference(image: np.ndarray) -> np.ndarray:
    """What the tiny firmware must compute."""
    sums = image.astype(np.int32).sum(axis=(0, 1)) * np.array([1, 2])
    return (sums >> 6).astype(np.int8)


@pytest.fixture
def reference() -> Callable[[np.ndarray], np.ndarray]:
    return tiny_reference
