"""Finds the operator at which a firmware's values leave the reference's.

The bytes that each call of the row kernel leaves in its output buffer are compared with the rows that the reference
says may lie there: row y of a tensor lives in slot y % rows of its buffer, so a slot has few candidates. A call may
leave several rows, one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from unicorn import UC_HOOK_CODE, UC_HOOK_MEM_WRITE
from unicorn.arm_const import UC_ARM_REG_PC, UC_ARM_REG_R0

from patchline.build.elf import ARENA
from patchline.hil.client import Client, row_source
from patchline.hil.functions import FIRE
from patchline.hil.outcome import RunError
from patchline.hil.sessions import Setup
from patchline.hil.unicorn_board import HookRequest, UnicornBoard
from patchline.network import reference
from patchline.network.ir import Network
from patchline.schedule.plan import Buffer, Plan


@dataclass(frozen=True)
class Difference:
    """The first call of the row kernel that left something else than the reference."""

    op: int
    slot: int  # of the output buffer
    address: int  # first wrong byte
    pc: int  # of the instruction that last wrote in this call
    where: str

    def describe(self) -> str:
        return f"it begins there, row slot {self.slot} at 0x{self.address:08x}, written by {self.where}"


def first_difference(network: Network, plan: Plan, setup: Setup, image: NDArray[np.int8]) -> Difference | None:
    """Run `image` once more and watch every operator's output; None when nothing wrong was found in the arena."""
    board = setup.board()
    arena = board.elf.find(*ARENA)
    if arena is None or board.elf.find(FIRE) is None:
        return None
    watch = _Watch(network, plan, board, arena.address, reference.run(network, image))
    client = Client(board)
    client.boot()
    fire = board.elf.symbols[FIRE].address
    hooks: list[HookRequest] = [
        (UC_HOOK_CODE, watch.fire, fire, fire),
        (UC_HOOK_MEM_WRITE, watch.write, arena.address, arena.address + arena.size - 1),
    ]
    try:
        with board.hooks(hooks):
            if setup.input_address is None:
                with board.serve_rows(row_source(image)):
                    client.infer()
            else:
                board.uc.mem_write(setup.input_address, image.tobytes())
                client.infer()
    except RunError:
        return watch.found
    watch.check()
    return watch.found


class _Watch:
    def __init__(
        self, network: Network, plan: Plan, board: UnicornBoard, arena: int, values: dict[str, NDArray[np.int8]]
    ) -> None:
        self.network, self.board, self.arena, self.values = network, board, arena, values
        self.buffers = {b.name: b for b in plan.buffers if b.kind in ("tensor", "ring", "row", "input")}
        self.found: Difference | None = None
        self.op: int | None = None
        self.low = self.high = self.pc = 0

    def fire(self, uc: Any, _address: int, _size: int, _data: object) -> None:
        self.check()
        self.op, self.low, self.high = uc.reg_read(UC_ARM_REG_R0), 0, 0

    def write(self, uc: Any, _access: int, address: int, size: int, _value: int, _data: object) -> None:
        if self.op is None or self.found is not None:
            return
        buffer = self.buffers.get(self.network.ops[self.op].output)
        if buffer is None or not 0 <= address - self.arena - buffer.offset < buffer.bytes:
            return
        self.low = min(self.low or address, address)
        self.high = max(self.high, address + size)
        self.pc = uc.reg_read(UC_ARM_REG_PC)

    def check(self) -> None:
        """Compare what the call that just ended has written."""
        if self.op is None or self.found is not None or self.high == 0:
            return
        tensor = self.network.ops[self.op].output
        buffer = self.buffers[tensor]
        pitch = buffer.cols * buffer.channels
        slot, start = divmod(self.low - self.arena - buffer.offset, pitch)
        written = np.frombuffer(bytes(self.board.uc.mem_read(self.low, self.high - self.low)), dtype=np.int8)
        wrong = _wrong_byte(self.values[tensor], buffer, slot, start, written)
        if wrong is not None:
            where = self.board.elf.where(self.pc)
            self.found = Difference(self.op, slot, self.low + wrong, self.pc, where)


def _wrong_byte(
    values: NDArray[np.int8], buffer: Buffer, slot: int, start: int, written: NDArray[np.int8]
) -> int | None:
    """Index of the first byte in `written` that fits no row (or rows) from this slot on; None when one fits wholly."""
    height, width, channels = values.shape
    best = -1
    for y in range(slot, height, buffer.rows):
        row = values[y:].reshape(-1) if buffer.cols == width else values[y].reshape(-1)
        origins = range(max(1, width - buffer.cols + 1)) if buffer.kind != "tensor" else range(1)
        for origin in origins:
            candidate = row[origin * channels + start :][: len(written)]
            if len(candidate) < len(written):
                continue
            unequal = np.flatnonzero(candidate != written)
            if len(unequal) == 0:
                return None
            best = max(best, int(unequal[0]))
    return max(best, 0)
