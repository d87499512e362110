"""Writes the firmware folder: the template as it is, plus the model, its sizes and, for a board, its linker script."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import patchline
from patchline import files
from patchline.codegen import names, render, tables
from patchline.errors import UserError
from patchline.network import reference
from patchline.network.ir import Int8Array, Network
from patchline.schedule.plan import Plan
from patchline.targets import Target

Golden = tuple[Int8Array, tuple[Int8Array, ...]]
"""An input [H, W, C] and the outputs [h, w, c] that belong to it."""


def template_folder() -> Path:
    """firmware_template/ of the project in the current folder, else beside the sources or inside an installed package.

    UserError when it is missing.
    """
    package = Path(patchline.__file__).parent
    for folder in (
        Path("firmware_template"),
        package.parent.parent / "firmware_template",
        package / "firmware_template",
    ):
        if (folder / "Makefile").is_file():
            return folder
    raise UserError("firmware_template/ is missing: install Patchline from its repository with `pip install -e .`")


def golden_vectors(network: Network, count: int, seed: int = 0) -> list[Golden]:
    """`count` random images with the reference's outputs, for the firmware's self-test."""
    rng = np.random.default_rng(seed)
    images = rng.integers(-128, 128, (count, *network.tensors[network.input].shape)).astype(np.int8)
    outputs = reference.run_batch(network, images)
    return [(image, tuple(outputs[name][i] for name in network.outputs)) for i, image in enumerate(images)]


def generate(
    network: Network,
    plan: Plan,
    target: Target | None,
    out_dir: str | Path,
    golden: Sequence[Golden] | None = None,
    *,
    prefix: str | None = None,
) -> Path:
    """Write the firmware of `network` under `plan` into `out_dir` (replaced) and return it.

    Without a target only the host build is possible. `golden` adds a self-test to the firmware (it takes flash).
    `prefix` begins the model's names in C and its files' names; it follows from the network's name unless it is given.
    Raises UserError where the firmware cannot hold the network, or where `prefix` is no name in C.
    """
    out = Path(out_dir)
    prefix = names.default_prefix(network.name) if prefix is None else names.checked_prefix(prefix)
    found = tables.build(network, plan)
    sources = {
        f"generated/{prefix}.c": render.model_c(network, found, prefix, golden or ()),
        **render.model_files(network, plan, found, prefix, golden or (), target),
    }
    if target is not None:
        sources |= {
            "generated/board_config.h": render.board_config(target),
            "generated/board.ld": render.linker_script(plan, target),
            "generated/board.mk": render.board_make(target),
        }
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(template_folder(), out, ignore=shutil.ignore_patterns("build"))
    for name, content in sources.items():
        files.write_text(out / name, content)
    files.write_text(out / "plan.json", plan.to_json())
    return out
