"""Emulators by name: Patchline's own, and those that installed packages add as entry points `patchline.emulators`.

Standard library only: params.yaml, board files and `patchline doctor` need the names where nothing else is installed.
An emulator's module is imported when the emulator is used. What it must offer: `hil.emulators.Emulator`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from patchline.errors import UserError

GROUP = "patchline.emulators"
AUTO = "auto"  # a choice, not an emulator: the bench decides

# Not entry points of our own: those of an installation are as old as the installation.
BUILT_IN = {
    "renode": "patchline.hil.renode:EMULATOR",
    "qemu": "patchline.hil.qemu:EMULATOR",
    "unicorn": "patchline.hil.unicorn_board:EMULATOR",
}


def emulator_names() -> tuple[str, ...]:
    """All names: Patchline's own first, in the order in which `auto` asks them, then added ones by name."""
    return (*BUILT_IN, *sorted({entry.name for entry in entry_points(group=GROUP)} - BUILT_IN.keys()))


def emulator_choices() -> tuple[str, ...]:
    """What a setting of the emulator may say."""
    return (AUTO, *emulator_names())


def is_emulator(name: str) -> bool:
    return name in BUILT_IN or bool(entry_points(group=GROUP, name=name))


def load_emulator(name: str) -> Any:
    """The emulator `name`, imported. A package cannot replace one of Patchline's own.

    Raises UserError for an unknown name, for a package that cannot be imported, and where two packages claim the name.
    """
    if name in BUILT_IN:
        return EntryPoint(name, BUILT_IN[name], GROUP).load()
    found = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if not found:
        raise UserError(f"emulator '{name}' is not known; choose one of {', '.join(emulator_choices())}")
    if len(found) > 1:
        packages = ", ".join(sorted(_package(entry) for entry in found.values()))
        raise UserError(f"emulator '{name}' comes from several packages: {packages}; uninstall all but one")
    (entry,) = found.values()
    try:
        return entry.load()
    except Exception as error:  # foreign code: whatever it raises, the package is what has to be mended
        raise UserError(
            f"emulator '{name}' of the package {_package(entry)} cannot be loaded "
            f"({type(error).__name__}: {error}): mend or uninstall it"
        ) from error


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
