"""What runs inside the bench's worker processes: generators over images, one firmware each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline import targets
from patchline.build import elf as elf_files
from patchline.hil import cycles, emulators
from patchline.hil.client import Client, Int8Array, row_source
from patchline.hil.cycles import Cost
from patchline.hil.functions import FIRE, INFER, ROW
from patchline.hil.isolate import unwind_on_sigterm
from patchline.hil.trace import divide
from patchline.hil.unicorn_board import UnicornBoard

IMAGE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Setup:
    """Everything a worker needs; paths and names only, so that it travels cheaply. `input_address`: where a resident
    input image lies, None when the firmware asks for rows. `limit_instructions` ends a traced inference."""

    elf: Path
    target: str | Path  # name, or a board file
    input_address: int | None = None
    limit_instructions: int = 4_000_000_000
    limit_s: float = IMAGE_TIMEOUT_S

    def load_target(self) -> targets.Target:
        return targets.find(self.target)

    def board(self) -> UnicornBoard:
        return UnicornBoard(
            elf_files.load(self.elf),
            self.load_target(),
            limit_s=self.limit_s,
            limit_instructions=self.limit_instructions,
        )


@dataclass(frozen=True)
class Inference:
    """One inference: int8 outputs, and what this kind of session can count (None: it cannot). `rows_asked`: input rows
    that came over the UART. `cycles`: measured by a real board's own counter."""

    index: int
    outputs: Int8Array
    instructions: int | None = None
    costs: dict[int, Cost] | None = None
    rows_asked: int = 0
    cycles: int | None = None


@dataclass(frozen=True)
class StackUse:
    """The last message of a session: the high-water mark of the painted stack."""

    stack_bytes: int


def bulk(setup: Setup, indices: list[int], images: NDArray[np.int8]) -> Iterator[Inference | StackUse]:
    """Run images on Unicorn without tracing; pixels go straight into the firmware's memory."""
    board = setup.board()
    client = Client(board)
    client.boot()
    for index, image in zip(indices, images, strict=True):
        with _input(board, setup, image):
            client.infer()
        yield Inference(index, client.outputs())
    yield StackUse(board.stack_used())


def traced(setup: Setup, indices: list[int], images: NDArray[np.int8]) -> Iterator[Inference | StackUse]:
    """Run images on Unicorn and count instructions and cycle estimates per operator."""
    board = setup.board()
    client = Client(board)
    client.boot()
    for index, image in zip(indices, images, strict=True):
        with _input(board, setup, image), board.record() as trace:
            client.infer()
        division = divide(trace, infer=INFER, fire=FIRE, row=ROW)
        costs = cycles.cost_by_owner(division, board.blocks, board.target, board.data_misses)
        total = sum(cost.instructions for cost in costs.values())
        yield Inference(index, client.outputs(), total, costs)
    yield StackUse(board.stack_used())


def over_link(
    setup: Setup, emulator: str, indices: list[int], images: NDArray[np.int8]
) -> Iterator[Inference | StackUse]:
    """Run images over the serial protocol on `emulator`: a registered one, or a real board (serial:...)."""
    unwind_on_sigterm()
    target = setup.load_target()
    serial = emulators.is_serial(emulator)
    link = emulators.open_link(emulator, elf_files.load(setup.elf), target)
    client = Client(link, timeout_s=setup.limit_s)

    def ticks() -> int:
        """The last inference by the firmware's own counter, without the wait for the host."""
        total, waited = client.values("x-cycles")
        return round((total - waited) % 2**32)

    try:
        if serial:
            client.command("name")  # the board has booted long ago
        else:
            client.boot()
        for index, image in zip(indices, images, strict=True):
            if setup.input_address is not None:
                client.load(image)
                client.infer()
            else:
                client.infer(image)
            rows = client.rows_asked
            count = measured = None
            if serial:
                measured = ticks()
            else:
                count = emulators.find(emulator).instructions(link, target, ticks)
            yield Inference(index, client.outputs(), count, rows_asked=rows, cycles=measured)
        used = client.values("x-stack")
        yield StackUse(int(used[0]))
    finally:
        link.close()


def _input(board: UnicornBoard, setup: Setup, image: Int8Array) -> AbstractContextManager[None]:
    if setup.input_address is None:
        return board.serve_rows(row_source(image))
    board.uc.mem_write(setup.input_address, image.tobytes())
    return nullcontext()
