"""Cycle estimates from executed basic blocks: the common part. The tables stand in `patchline.cores`.

An estimate, not a measurement: a static cost per block, plus what its exit costs (taken or mispredicted branches),
plus waiting for flash as far as the board's `timing` tells. Buses, write buffers and other conflicts are not modelled.
docs/benchmarking.md compares the estimates with published figures of real boards.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline import cores
from patchline.cores import CycleModel
from patchline.hil.blocks import Block, BlockCache
from patchline.hil.trace import OUTSIDE, RUNTIME, SIZE_SHIFT, Division
from patchline.targets import Target, Timing

VERSION = "2"


def version(target: Target) -> str:
    """Name and version of the model used for this target, for logs."""
    return f"{cores.load(target.core).cycles.name}-{VERSION}"


@dataclass(frozen=True)
class Cost:
    """What one operator (or the runtime around them) executed. All but `instructions` are estimates."""

    instructions: int
    cycles_est: int
    flash_stalls_est: int  # part of cycles_est


class LineCache:
    """Least-recently-used lines of `line` bytes; counts what was not there."""

    def __init__(self, size: int, line: int) -> None:
        self.line = line
        self.lines = max(size // line, 1)
        self._held: OrderedDict[int, None] = OrderedDict()

    def miss(self, address: int) -> bool:
        """True when the line of `address` had to be fetched; it is held afterwards."""
        line = address // self.line
        if line in self._held:
            self._held.move_to_end(line)
            return False
        self._held[line] = None
        if len(self._held) > self.lines:
            self._held.popitem(last=False)
        return True


def cost_by_owner(
    division: Division, blocks: BlockCache, target: Target, data_misses: dict[int, int]
) -> dict[int, Cost]:
    """Cost per operator index (and RUNTIME) of everything inside the inference.

    `data_misses` counts, per owner, the lines that data reads fetched from flash.
    """
    model = cores.load(target.core).cycles
    unique, index = np.unique(division.blocks, return_inverse=True)
    decoded = [blocks.get(int(p) & 0xFFFF_FFFF, int(p) >> SIZE_SHIFT) for p in unique]
    lengths = np.array([len(block.instructions) for block in decoded], dtype=np.int64)
    static = np.array([model.block_cycles(block) for block in decoded], dtype=np.int64)
    following = np.append(index[1:], index[-1:]) if len(index) else index
    stalls = _fetch_stalls(division, index, decoded, target.timing)
    result: dict[int, Cost] = {}
    for owner in np.unique(division.owner):
        if owner == OUTSIDE:
            continue
        chosen = division.owner == owner
        mine = index[chosen]
        wait = stalls.get(int(owner), 0) + data_misses.get(int(owner), 0) * target.timing.flash_wait_states
        cycles = int(static[mine].sum()) + _exits(model, decoded, mine, following[chosen]) + wait
        result[int(owner)] = Cost(int(lengths[mine].sum()), cycles, wait)
    return result


def _exits(model: CycleModel, decoded: list[Block], at: NDArray[np.int64], to: NDArray[np.int64]) -> int:
    pairs, counts = np.unique(at * len(decoded) + to, return_counts=True)
    edges: dict[int, dict[int, int]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        source, target = divmod(pair, len(decoded))
        edges.setdefault(source, {})[decoded[target].address] = count
    return sum(model.exit_cycles(decoded[source], follows) for source, follows in edges.items())


def _fetch_stalls(division: Division, index: NDArray[np.int64], decoded: list[Block], timing: Timing) -> dict[int, int]:
    """Cycles spent waiting for code: every line of flash that a row kernel's call executes is fetched once a call.

    Loops inside the call hit the instruction cache (they are smaller than it); between calls other code evicts them.
    A cache that holds all of the code fetches each line once in the whole run.
    """
    if timing.flash_wait_states == 0:
        return {}
    lines = [
        np.arange(b.address // timing.flash_line_bytes, (b.end - 1) // timing.flash_line_bytes + 1) for b in decoded
    ]
    inside = division.owner != OUTSIDE
    total_lines = len(np.unique(np.concatenate([lines[i] for i in np.unique(index[inside])]))) if inside.any() else 0
    keeps_all = total_lines * timing.flash_line_bytes <= timing.instruction_cache_bytes
    stalls: dict[int, int] = {}
    units = division.owner if keeps_all else np.where(division.firing >= 0, division.firing, RUNTIME)
    keys, first, inverse = np.unique(units[inside], return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    bounds = np.append(np.searchsorted(inverse[order], np.arange(len(keys))), len(order))
    owners, used = division.owner[inside], index[inside]
    for number in range(len(keys)):
        executed = np.unique(used[order[bounds[number] : bounds[number + 1]]])
        touched = len(np.unique(np.concatenate([lines[i] for i in executed])))
        owner = int(owners[first[number]])
        stalls[owner] = stalls.get(owner, 0) + touched * timing.flash_wait_states
    return stalls
