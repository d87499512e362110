"""The functions of a firmware that the bench knows by name, and places in their code that its emulators must know."""

from __future__ import annotations

from itertools import pairwise

from patchline.build.elf import Elf, Symbol
from patchline.hil.blocks import BlockCache, Instruction

FIRE, ROW, INFER, HALT = "pl_fire", "board_read_row", "pl_infer", "board_halt"
"""An operator's row, the wait for an input row, a whole inference, the end of a firmware that found a fault."""


def behind_conditional_accesses(elf: Elf) -> tuple[int, ...]:
    """Addresses of the instructions that follow the last load or store of an IT block."""

    def accesses(instruction: Instruction) -> bool:
        return instruction.conditional and instruction.mnemonic.startswith(("ld", "st", "vld", "vst"))

    cache = BlockCache(elf.read)
    found = []
    for function in elf.functions:
        for this, following in pairwise(_body(elf, cache, function)):
            if accesses(this) and not accesses(following):
                found.append(following.address)
    return tuple(found)


def _body(elf: Elf, cache: BlockCache, function: Symbol) -> tuple[Instruction, ...]:
    return cache.get(function.address, len(elf.read(function.address, function.size))).instructions


def return_addresses(elf: Elf, function: Symbol) -> tuple[int, ...]:
    """Addresses of the instructions with which `function` returns (pop into pc, bx lr)."""
    return tuple(
        i.address
        for i in _body(elf, BlockCache(elf.read), function)
        if ("pc" in i.writes and i.mnemonic in ("pop", "ldm", "ldr")) or (i.mnemonic == "bx" and i.operands == ("lr",))
    )
