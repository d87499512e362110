"""Runs `make` in a generated folder, whatever the folder's name holds.

Make cuts names at blanks and takes `$`, `#` and `:` for its own, and a shell reads the rest of a command line. So no
path is ever handed over: make starts inside the folder, every path in the Makefile is relative, and a folder elsewhere
for shared objects is reached by a link of ours beside the Makefile.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from patchline.errors import UserError

LINK = "shared"  # to the folder for objects that several models share
TIMEOUT_S = 600


def run(
    folder: Path, goal: str, variables: Mapping[str, str], *, shared: Path | None = None, jobs: int = 1
) -> subprocess.CompletedProcess[str]:
    """Make `goal` in `folder`, with `variables` set as on make's command line; a failure is in the result.

    `shared` is made where it is missing, and inside `folder` it is `LINK`. UserError where make is not installed.
    """
    if shared is not None:
        shared.mkdir(parents=True, exist_ok=True)
        link = folder / LINK
        link.unlink(missing_ok=True)
        link.symlink_to(shared.resolve(), target_is_directory=True)
    command = ["make", f"-j{jobs}", *(f"{name}={value}" for name, value in variables.items()), goal]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        raise UserError("`make` is not installed: apt-get install make") from None
