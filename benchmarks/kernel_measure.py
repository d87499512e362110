"""Builds a network for a board, runs one image in the emulator and tells what every operator executed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from patchline import build, codegen, targets
from patchline.hil import sessions
from patchline.hil.cycles import Cost
from patchline.hil.sessions import Inference, Setup
from patchline.hil.trace import RUNTIME
from patchline.network import reference
from patchline.network.ir import Network
from patchline.schedule import Plan
from patchline.targets import Target

BOARDS = {"M4": "stm32f412", "M7": "stm32f746"}


@dataclass(frozen=True)
class Measured:
    """Costs by operator index (RUNTIME: the executor) of one inference."""

    network: Network
    plan: Plan
    target: Target
    costs: dict[int, Cost]

    @property
    def instructions(self) -> int:
        return sum(cost.instructions for cost in self.costs.values())

    @property
    def cycles(self) -> int:
        return sum(cost.cycles_est for cost in self.costs.values())

    @property
    def stalls(self) -> int:
        return sum(cost.flash_stalls_est for cost in self.costs.values())

    @property
    def runtime(self) -> Cost:
        return self.costs.get(RUNTIME, Cost(0, 0, 0))


@cache
def _objects() -> tempfile.TemporaryDirectory[str]:
    """Kernels are compiled once per board and process, not once per network."""
    return tempfile.TemporaryDirectory(prefix="patchline-kernels-")  # gone with the process


def measure(network: Network, plan: Plan, board: str, *, check: bool = False) -> Measured:
    """Count one inference of a seeded random image. `check` compares the outputs with the reference as well.

    Raises UserError when the firmware does not build, AssertionError when outputs differ.
    """
    target = targets.load(board)
    shape = network.tensors[network.input].shape
    image = np.random.default_rng(1).integers(-128, 128, (1, *shape), dtype=np.int8)
    with tempfile.TemporaryDirectory() as folder:
        codegen.generate(network, plan, target, Path(folder))
        firmware = build.compile_folder(folder, shared=Path(_objects().name) / target.name)
        found = next(
            done for done in sessions.traced(Setup(firmware, board), [0], image) if isinstance(done, Inference)
        )
    if check:
        expected = reference.run_batch(network, image)
        joined = np.concatenate([expected[name].reshape(-1) for name in network.outputs])
        assert np.array_equal(found.outputs, joined), f"{network.name} on {board}: outputs differ from the reference"
    assert found.costs is not None
    return Measured(network, plan, target, found.costs)
