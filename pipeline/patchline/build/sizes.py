"""Sizes of a linked firmware, and the check that they are the planned ones."""

from __future__ import annotations

from dataclasses import dataclass

from patchline.build.elf import ARENA, Elf
from patchline.errors import UserError
from patchline.schedule.plan import Plan


class SizeError(UserError):
    """The linked firmware does not have the planned size; exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=1)


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


def linked_sizes(elf: Elf) -> Sizes:
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
    """The sizes of `elf`; raises SizeError when they are not, byte for byte, what the plan says."""
    found = linked_sizes(elf)
    pairs = (
        ("the arena", found.arena, plan.arena_bytes),
        ("static memory (.data + .bss)", found.static, plan.sram.static),
        ("the reserved stack", found.stack, plan.sram.stack),
        ("SRAM in total", found.sram, plan.sram_peak_bytes),
    )
    wrong = [f"{what} is {linked} bytes, planned {planned}" for what, linked, planned in pairs if linked != planned]
    if wrong:
        raise SizeError(f"the linked firmware does not have the planned size: {elf.path}: " + "; ".join(wrong))
    return found
