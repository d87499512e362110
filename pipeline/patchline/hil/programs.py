"""Where the emulators' programs are. Standard library only: `patchline doctor` asks where packages are missing."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """A program: the one that the environment variable `variable` names, else `name` on PATH, else `local`.

    If the variable is set but names no program, there is no fallback.
    """

    variable: str
    name: str
    local: Path | None = None

    def path(self) -> str | None:
        """Its absolute path; None when it is not there."""
        named = os.environ.get(self.variable)
        found = shutil.which(named or self.name)
        if found is None and not named and self.local is not None:
            found = shutil.which(self.local)
        return None if found is None else str(Path(found).absolute())

    def unavailable_because(self, remedy: str) -> str:
        """Why it cannot be used; empty when it can."""
        if self.path():
            return ""
        named = os.environ.get(self.variable)
        if named:
            return f"${self.variable} names {named}, which is no program"
        return f"{self.name} is not installed: {remedy}"


QEMU = Program("QEMU_SYSTEM_ARM", "qemu-system-arm")
RENODE_VERSION = "1.16.1"
RENODE = Program("RENODE", "renode", Path(".renode") / "renode")  # scripts/fetch_renode.py unpacks it there
