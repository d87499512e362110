"""Basic blocks of a firmware, decoded once each with capstone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capstone import CS_ARCH_ARM, CS_GRP_JUMP, CS_MODE_MCLASS, CS_MODE_THUMB, Cs
from capstone.arm import ARM_CC_AL, ARM_CC_INVALID, ARM_OP_MEM, ARM_REG_PC


@dataclass(frozen=True)
class Instruction:
    """`mnemonic` in lower case without condition and width suffix; registers by capstone's names.

    `count`: registers that a multiple load or store moves. `base`, `offset`: of a memory access with an immediate
    offset (offset None: a register offset, base "": no access).
    """

    address: int
    size: int
    mnemonic: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    operands: tuple[str, ...] = ()
    count: int = 0
    base: str = ""
    offset: int | None = None
    jump: bool = False
    conditional: bool = False


@dataclass(frozen=True)
class Block:
    """Straight-line code from `address`; `end` is the first address behind it."""

    address: int
    end: int
    instructions: tuple[Instruction, ...]


class BlockCache:
    """Decodes blocks on first use. `fetch(address, size)` returns the code bytes."""

    def __init__(self, fetch: Callable[[int, int], bytes]) -> None:
        self._fetch = fetch
        self._decoder = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
        self._decoder.detail = True
        self._blocks: dict[tuple[int, int], Block] = {}

    def get(self, address: int, size: int) -> Block:
        key = (address, size)
        if key not in self._blocks:
            self._blocks[key] = Block(address, address + size, self._decode(address, size))
        return self._blocks[key]

    def _decode(self, address: int, size: int) -> tuple[Instruction, ...]:
        code = self._fetch(address, size)
        found: list[Instruction] = []
        position = 0
        predicated = 0  # instructions left in an IT block, which capstone cannot see when it decodes one at a time
        while position < size:
            decoded = next(self._decoder.disasm(code[position : position + 4], address + position, 1), None)
            if decoded is None:  # an instruction capstone does not know: the length follows from the first halfword
                length = 4 if (code[position + 1] >> 3) in (0b11101, 0b11110, 0b11111) else 2
                found.append(Instruction(address + position, min(length, size - position), "unknown"))
            else:
                found.append(_instruction(decoded, predicated > 0))
                length = decoded.size
                predicated = len(decoded.mnemonic) - 1 if decoded.mnemonic.startswith("it") else max(0, predicated - 1)
            position += length
        return tuple(found)


def _instruction(decoded: Any, predicated: bool) -> Instruction:
    reads, writes = decoded.regs_access()
    names = {register: decoded.reg_name(register) for register in (*reads, *writes)}
    mnemonic = decoded.mnemonic.lower().removesuffix(".w").removesuffix(".n")
    conditional = predicated or decoded.cc not in (ARM_CC_AL, ARM_CC_INVALID)
    if conditional and not predicated and mnemonic.startswith("b"):
        mnemonic = "b"
    base, offset = "", None
    for operand in decoded.operands:
        if operand.type == ARM_OP_MEM:
            base = decoded.reg_name(operand.mem.base)
            offset = operand.mem.disp if operand.mem.index == 0 else None
    operands = tuple(part.strip() for part in decoded.op_str.split(","))
    listed = decoded.op_str.partition("{")[2].partition("}")[0]
    return Instruction(
        decoded.address,
        decoded.size,
        mnemonic,
        frozenset(names[r] for r in reads),
        frozenset(names[r] for r in writes),
        operands,
        count=len(listed.split(",")) if listed else 0,
        base=base,
        offset=offset,
        jump=decoded.group(CS_GRP_JUMP) or ARM_REG_PC in writes or mnemonic in ("b", "bl", "bx", "blx", "tbb", "tbh"),
        conditional=conditional or mnemonic in ("cbz", "cbnz"),
    )
