"""Which emulator runs a target here, and how to open it as a link."""

from __future__ import annotations

from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil import qemu, renode
from patchline.hil.link import Link
from patchline.targets import Target

CHOICES = ("auto", "renode", "qemu", "unicorn")
SERIAL = "serial:"
RENODE_IMAGES = 20  # up to so many are left to Renode, which takes seconds an image


def why_not(name: str, target: Target) -> str:
    """Why the emulator `name` cannot run `target` on this machine; empty when it can."""
    if name not in target.emulators:
        return f"{name} does not have the memory map of {target.name} (it runs on {', '.join(target.emulators)})"
    return {"renode": renode.why_not, "qemu": qemu.why_not, "unicorn": lambda: ""}[name]()


def check_choice(name: str, target: Target) -> None:
    """UserError when `name` is no emulator, or one that cannot run `target` here."""
    if name.startswith(SERIAL) and len(name) > len(SERIAL):
        return
    if name not in CHOICES:
        raise UserError(f"emulator '{name}' is not known; choose one of {', '.join(CHOICES)} or serial:/dev/ttyX")
    if name != "auto" and (reason := why_not(name, target)):
        raise UserError(f"{name} cannot run {target.name}: {reason}")


def roles(choice: str, target: Target, images: int) -> tuple[str, str | None]:
    """The emulator that runs all `images`, and the independent one that repeats a few of them (None: nobody).

    `auto` is Renode where it is present and the images are few; else Unicorn, with Renode or QEMU behind it.
    """
    if choice != "auto":
        return choice, None
    independent = next((name for name in ("renode", "qemu") if not why_not(name, target)), None)
    if independent == "renode" and images <= RENODE_IMAGES:
        return "renode", None
    return "unicorn", independent


def open_link(name: str, elf: Elf, target: Target) -> Link:
    """Start `elf` on the emulator, or open the serial port, `name`."""
    if name.startswith(SERIAL):
        from patchline.hil.serial_port import SerialBoard

        return SerialBoard(name.removeprefix(SERIAL), target.uart.baud)
    if name == "renode":
        return renode.RenodeBoard(elf, target)
    if name == "qemu":
        return qemu.QemuBoard(elf, target)
    from patchline.hil.unicorn_board import UnicornBoard

    return UnicornBoard(elf, target)
