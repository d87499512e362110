"""Compiles a generated firmware folder for its board."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from patchline import files
from patchline.build import elf, make
from patchline.build.sizes import linked_sizes
from patchline.errors import UserError

COMPILER = "arm-none-eabi-gcc"
BUILD = "build"


def compile_folder(folder: str | Path, *, shared: Path | None = None) -> Path:
    """Run `make` in a folder that `codegen.generate` wrote; returns `firmware.elf` there, with `firmware.map` and
    `size.json` beside it. `shared` is a folder for the kernels' objects, which models of one board then compile once.

    Raises UserError with the compiler's own words when something does not compile or link.
    """
    folder = Path(folder)
    if not (folder / "Makefile").is_file():
        raise UserError(
            f"{folder} holds no Makefile: it is not a generated firmware folder (`patchline compile` makes one)"
        )
    for tool, package in (("make", "make"), (COMPILER, "gcc-arm-none-eabi libnewlib-arm-none-eabi")):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not installed: apt-get install {package}")
    variables = {"BUILD": BUILD, "SHARED": BUILD if shared is None else make.LINK}
    result = make.run(folder, "all", variables, shared=shared, jobs=len(os.sched_getaffinity(0)))
    if result.returncode != 0:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        raise UserError(f"the firmware in {folder} does not build:\n  " + "\n  ".join(lines[:30]), exit_code=1)
    for name in ("firmware.elf", "firmware.map"):
        shutil.copyfile(folder / BUILD / name, folder / name)
    files.write_json(folder / "size.json", asdict(linked_sizes(elf.load(folder / "firmware.elf"))))
    return folder / "firmware.elf"
