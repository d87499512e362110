"""Basic blocks of a firmware, decoded once each with capstone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs


@dataclass(frozen=True)
class Instruction:
    """`mnemonic` in lower case without the width suffix (.w, .n); `operands` as capstone prints them."""

    address: int
    size: int
    mnemonic: str
    operands: str


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
        while position < size:
            decoded = next(self._decoder.disasm_lite(code[position:], address + position, 1), None)
            if decoded is None:  # an instruction capstone does not know: the length follows from the first halfword
                length = 4 if (code[position + 1] >> 3) in (0b11101, 0b11110, 0b11111) else 2
                found.append(Instruction(address + position, length, "unknown", ""))
            else:
                _, length, mnemonic, operands = decoded
                found.append(Instruction(address + position, length, _plain(mnemonic), operands))
            position += length
        return tuple(found)


def _plain(mnemonic: str) -> str:
    return mnemonic.lower().removesuffix(".w").removesuffix(".n")
