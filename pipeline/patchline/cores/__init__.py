"""What is known about processor cores. A family of cores is a folder: its kernels, how they hold weights, what their
cycles consist of, and one file per core. Nothing here knows schedules, boards or emulators.

`load(name)` finds a core. A new core is a file in its family's folder, listed in the family's `CORES`.
"""

from __future__ import annotations

from patchline.cores import armv7em
from patchline.cores.core import Core, CycleModel
from patchline.errors import UserError

_CORES = {core.name: core for core in armv7em.CORES}


def names() -> list[str]:
    """Names of all cores."""
    return sorted(_CORES)


def load(name: str) -> Core:
    """The core `name`. Raises UserError for an unknown one."""
    if name not in _CORES:
        raise UserError(f"core '{name}' is not known; there are {', '.join(names())}")
    return _CORES[name]


__all__ = ["Core", "CycleModel", "load", "names"]
