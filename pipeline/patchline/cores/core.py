"""What code generation, build, emulation and cycle model need to know of one processor core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Instruction(Protocol):
    """A decoded instruction, as `hil.blocks` makes it; what the members mean stands there."""

    @property
    def mnemonic(self) -> str: ...
    @property
    def reads(self) -> frozenset[str]: ...
    @property
    def writes(self) -> frozenset[str]: ...
    @property
    def operands(self) -> tuple[str, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def base(self) -> str: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def jump(self) -> bool: ...
    @property
    def conditional(self) -> bool: ...


class Block(Protocol):
    """Straight-line code; `end` is the first address behind it."""

    @property
    def end(self) -> int: ...
    @property
    def instructions(self) -> Sequence[Instruction]: ...


@dataclass(frozen=True)
class CycleModel:
    """An estimate of cycles from executed basic blocks."""

    name: str  # for logs
    block_cycles: Callable[[Block], int]
    """Cycles of the block when its last branch is not taken (or as predicted)."""
    exit_cycles: Callable[[Block, dict[int, int]], int]
    """Cycles that leaving the block costs beyond that; the dict counts executions by the address that followed."""


@dataclass(frozen=True)
class Core:
    """One core. A file of its family's folder defines it, `cores.load` finds it."""

    name: str  # as in a board's file and in the compiler's -mcpu
    flags: str  # of the compiler, beside those for floats
    fpu: str  # the compiler's -mfpu, where the board's core has its FPU
    emulated_as: str  # unicorn's name: the constant UC_CPU_ARM_<this>
    cpuid: int  # what the register CPUID reads
    cycles: CycleModel
    defines: Mapping[str, int] = field(default_factory=dict)  # of board_config.h

    def cpu_flags(self, fpu: bool) -> str:
        """Flags of the compiler, for a board whose core has its FPU or not."""
        floats = f"-mfloat-abi=hard -mfpu={self.fpu}" if fpu else "-mfloat-abi=soft"
        return f"-mcpu={self.name} -mthumb {floats} {self.flags}"
