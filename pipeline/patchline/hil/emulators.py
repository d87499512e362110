"""What an emulator is to the bench, which one runs a target here, and how to open it as a link.

The names are registered in `patchline.plugins`; docs/benchmarking.md tells how a package adds an emulator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from patchline import plugins
from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil.link import Link
from patchline.plugins import AUTO
from patchline.targets import Target

UNICORN = "unicorn"  # the emulator that the bench itself is built on: it traces, and runs images without a UART
SERIAL = "serial:"


class Emulator(Protocol):
    """One emulator, under the name that it is registered by."""

    @property
    def independent(self) -> bool:
        """Whether it executes instructions with other code than Unicorn, so that it can check Unicorn."""

    @property
    def auto_images(self) -> int:
        """Up to so many images `auto` lets it run alone; of more it repeats a few behind Unicorn."""

    def unavailable_because(self, target: Target) -> str:
        """Why it cannot run `target` on this machine, with the remedy; empty when it can."""

    def open(self, elf: Elf, target: Target) -> Link:
        """Start `elf`; the link carries the UART's bytes."""

    def instructions(self, link: Link, target: Target, ticks: Callable[[], int]) -> int | None:
        """Instructions of the last inference on `link`, without the wait for input rows; None: it cannot tell.

        `ticks` asks the firmware what its own counter measured (DWT cycles, or ticks of the CMSDK timer).
        """


def find(name: str) -> Emulator:
    """The emulator `name`. Raises UserError with all names for an unknown one."""
    emulator: Emulator = plugins.load_emulator(name)
    return emulator


def is_serial(choice: str) -> bool:
    """Whether `choice` is a real board on a serial port."""
    return choice.startswith(SERIAL) and len(choice) > len(SERIAL)


def not_listed(name: str, target: Target) -> str:
    """Why an emulator does not run boards whose file does not list it; empty for those that do."""
    if name in target.emulators:
        return ""
    return f"{name} does not have the memory map of {target.name} (it runs on {', '.join(target.emulators)})"


def unavailable_because(name: str, target: Target) -> str:
    """Why the emulator `name` cannot run `target` on this machine; empty when it can."""
    return find(name).unavailable_because(target)


def check_choice(choice: str, target: Target) -> None:
    """UserError when `choice` is no emulator, or one that cannot run `target` here."""
    if choice == AUTO or is_serial(choice):
        return
    if not plugins.is_emulator(choice):
        known = ", ".join(plugins.emulator_choices())
        raise UserError(f"emulator '{choice}' is not known; choose one of {known} or serial:/dev/ttyX")
    if reason := unavailable_because(choice, target):
        raise UserError(f"{choice} cannot run {target.name}: {reason}")


def main_and_checker(choice: str, target: Target, images: int) -> tuple[str, str | None]:
    """The emulator that runs all `images`, and the independent one that repeats a few of them (None: nobody).

    `auto` takes the first independent emulator that can run the board: alone where it takes so many images, else
    behind Unicorn.
    """
    if choice != AUTO:
        return choice, None
    independent = (name for name in plugins.emulator_names() if find(name).independent)
    checker = next((name for name in independent if not unavailable_because(name, target)), None)
    if checker is not None and images <= find(checker).auto_images:
        return checker, None
    return UNICORN, checker


def open_link(choice: str, elf: Elf, target: Target) -> Link:
    """Start `elf` on the emulator, or open the serial port, `choice`."""
    if is_serial(choice):
        from patchline.hil.serial_port import SerialBoard

        return SerialBoard(choice.removeprefix(SERIAL), target.uart.baud)
    return find(choice).open(elf, target)
