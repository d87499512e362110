"""A trace of executed basic blocks, and its division into operators.

The emulator appends one number per executed block and notes the calls of a few functions. Everything else is worked out
afterwards with numpy, so that the hook that runs millions of times stays as small as it can be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SIZE_SHIFT = 32  # a block is packed as address | size << 32

OUTSIDE = -1  # of the inference
RUNTIME = -2  # inside the inference, in no operator: the executor


@dataclass(frozen=True)
class Call:
    """A call noted on entry: block number `index` is the first of the function."""

    index: int
    function: str
    return_address: int
    argument: int  # r0


@dataclass
class Trace:
    """Recorder of blocks and calls; `pending` is what the block hook appends to."""

    pending: list[int] = field(default_factory=list)
    chunks: list[NDArray[np.int64]] = field(default_factory=list)
    flushed: int = 0
    calls: list[Call] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.flushed + len(self.pending)

    def flush(self) -> None:
        """Move what was appended into a compact chunk."""
        if self.pending:
            self.chunks.append(np.array(self.pending, dtype=np.int64))
            self.flushed += len(self.pending)
            self.pending.clear()

    def blocks(self) -> NDArray[np.int64]:
        """All blocks in the order of execution, packed."""
        self.flush()
        if len(self.chunks) > 1:
            self.chunks = [np.concatenate(self.chunks)]
        return self.chunks[0] if self.chunks else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Division:
    """`owner[i]` tells to whom block i belongs: an operator's index, RUNTIME or OUTSIDE. `firing[i]` numbers the calls
    of the row kernel (-1 outside of them)."""

    blocks: NDArray[np.int64]
    owner: NDArray[np.int64]
    firing: NDArray[np.int64]


def divide(trace: Trace, *, infer: str, fire: str, row: str) -> Division:
    """Who executed each block. `infer`, `fire` and `row` name the functions that bracket an inference, an operator's
    row and the wait for an input row (which belongs to nobody)."""
    blocks = trace.blocks()
    addresses = blocks & ((1 << SIZE_SHIFT) - 1)
    owner = np.full(len(blocks), OUTSIDE, dtype=np.int64)
    firing = np.full(len(blocks), -1, dtype=np.int64)
    returns: dict[int, NDArray[np.int64]] = {}

    def end(call: Call) -> int:
        address = call.return_address
        if address not in returns:
            returns[address] = np.flatnonzero(addresses == address)
        at = np.searchsorted(returns[address], call.index + 1)
        return int(returns[address][at]) if at < len(returns[address]) else len(blocks)

    for name, label in ((infer, None), (fire, "argument"), (row, "nobody")):
        for number, call in enumerate(c for c in trace.calls if c.function == name):
            span = slice(call.index, end(call))
            if label is None:
                owner[span] = RUNTIME
            elif label == "argument":
                owner[span] = call.argument
                firing[span] = number
            else:
                owner[span] = OUTSIDE
                firing[span] = -1
    return Division(blocks, owner, firing)
