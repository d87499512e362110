"""Compiles a generated firmware folder and holds the linked sizes against the plan."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from patchline import files, make
from patchline.errors import UserError
from patchline.hil import elf as elf_files
from patchline.hil.elf import ARENA, Elf
from patchline.hil.outcome import RunError
from patchline.schedule.plan import Plan

COMPILER = "arm-none-eabi-gcc"
BUILD = "build"


@dataclass(frozen=True)
class Sizes:
    """Bytes of a linked firmware. `static` is .data + .bss without the arena; `sram` = arena + static + stack."""

    text: int
    data: int
    bss: int
    arena: int
    static: int
    stack: int
    flash: int
    sram: int


def compile_folder(folder: str | Path, *, shared: Path | None = None) -> Path:
    """Run `make` in a folder that `codegen.generate` wrote; returns `firmware.elf` there, with `firmware.map` and
    `size.json` beside it. `shared` is a folder for the kernels' objects, which models of one board then compile once.

    Raises UserError with the compiler's own words when something does not compile or link.
    """
    folder = Path(folder)
    if not (folder / "Makefile").is_file():
        raise UserError(
            f"{folder} holds no Makefile: it is not a generated firmware folder (`patchline compile` makes one)"
        )
    for tool, package in (("make", "make"), (COMPILER, "gcc-arm-none-eabi libnewlib-arm-none-eabi")):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not installed: apt-get install {package}")
    variables = {"BUILD": BUILD, "SHARED": BUILD if shared is None else make.LINK}
    result = make.run(folder, "all", variables, shared=shared, jobs=len(os.sched_getaffinity(0)))
    if result.returncode != 0:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        raise UserError(f"the firmware in {folder} does not build:\n  " + "\n  ".join(lines[:30]), exit_code=1)
    for name in ("firmware.elf", "firmware.map"):
        shutil.copyfile(folder / BUILD / name, folder / name)
    files.write_json(folder / "size.json", asdict(sizes(elf_files.load(folder / "firmware.elf"))))
    return folder / "firmware.elf"


def sizes(elf: Elf) -> Sizes:
    """Sizes of a linked firmware."""
    arena_symbol = elf.find(*ARENA)
    arena = arena_symbol.size if arena_symbol else 0
    stack = elf.size_of(".stack")
    sram = elf.sram_bytes
    return Sizes(
        text=sum(s.size for s in elf.sections if not s.in_sram),
        data=elf.size_of(".data"),
        bss=sum(s.size for s in elf.sections if s.in_sram and not s.in_file and s.name != ".stack"),
        arena=arena,
        static=sram - arena - stack,
        stack=stack,
        flash=elf.flash_bytes,
        sram=sram,
    )


def check_sizes(elf: Elf, plan: Plan) -> Sizes:
    """The sizes of `elf`; raises RunError (kind size) when they are not, byte for byte, what the plan says."""
    found = sizes(elf)
    pairs = (
        ("the arena", found.arena, plan.arena_bytes),
        ("static memory (.data + .bss)", found.static, plan.sram.static),
        ("the reserved stack", found.stack, plan.sram.stack),
        ("SRAM in total", found.sram, plan.sram_peak_bytes),
    )
    wrong = [f"{what} is {linked} bytes, planned {planned}" for what, linked, planned in pairs if linked != planned]
    if wrong:
        raise RunError("size", f"{elf.path}: " + "; ".join(wrong))
    return found
