"""Firmware for emulated boards, compiled quickly: models of one board share the kernels' objects."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from patchline import build, codegen, targets
from patchline.build import elf
from patchline.hil.client import Client, row_source
from patchline.hil.unicorn_board import UnicornBoard
from patchline.network.ir import Network
from patchline.schedule.plan import Plan

Firmware = Callable[..., "Board"]


class Board:
    """A generated firmware on Unicorn, booted."""

    def __init__(self, network: Network, plan: Plan, folder: Path) -> None:
        self.network, self.plan = network, plan
        self.elf = elf.load(folder / "firmware.elf")
        self.core = UnicornBoard(self.elf, targets.load(plan.target), limit_s=60.0)
        self.client = Client(self.core)
        self.client.boot()

    def lines(self, command: str) -> tuple[str, ...]:
        return self.client.command(command).lines

    def outputs(self, image: np.ndarray) -> np.ndarray:
        """All output tensors for `image`, one behind the other; rows go straight into the device's memory."""
        if self.plan.input_mode == "resident":
            self.client.load(image)
            self.client.infer()
        else:
            with self.core.serve_rows(row_source(image)):
                self.client.infer()
        return self.client.outputs()


@pytest.fixture(scope="session")
def make_firmware(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    """`make_firmware(network, plan)` compiles, links, checks the sizes against the plan and boots."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi")
    folder = tmp_path_factory.mktemp("firmware")

    def make(network: Network, plan: Plan, golden: list | None = None) -> Board:
        out = codegen.generate(network, plan, targets.load(plan.target), folder / "model", golden)
        linked = build.compile_folder(out, shared=folder / plan.target)
        build.check_sizes(elf.load(linked), plan)
        return Board(network, plan, out)

    return make
