"""QEMU's MPS2 boards as an independent process: the CMSDK UART on a socket, virtual time tied to instructions.

`-icount shift=6` lets every instruction take 64 ns of virtual time, so that the board's 25 MHz timer advances by
exactly 1.6 ticks per instruction. The firmware times its inference with that timer; its ticks give the instructions,
exact to one instruction per reading of the timer. QEMU has no DWT, and Debian's build brings no plug-in that counts
instructions.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil.emulators import Emulator, not_listed
from patchline.hil.link import Link
from patchline.hil.outcome import RunError
from patchline.hil.peripherals import TIMER_TICKS_PER_INSTRUCTION
from patchline.hil.process import ProcessBoard
from patchline.hil.programs import QEMU
from patchline.targets import Target

UART = "uart"
POLL_S = 0.05  # how often a starting QEMU is looked at
ICOUNT = "shift=6,sleep=off"  # sleep=off: an idle core does not wait for the wall clock


def unavailable_because() -> str:
    """Why QEMU cannot be used on this machine, with the remedy; empty when it can."""
    return QEMU.unavailable_because("apt-get install qemu-system-arm")


class QemuBoard(ProcessBoard):
    """A `link.Link` to a firmware in qemu-system-arm."""

    def __init__(self, elf: Elf, target: Target, *, start_timeout_s: float = 20.0) -> None:
        if target.qemu is None:
            raise UserError(f"QEMU has no machine for {target.name}; its emulators: {', '.join(target.emulators)}")
        program = QEMU.path()
        if program is None:
            raise UserError(unavailable_because())
        super().__init__("QEMU")
        with self._starting(), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            _bind(listener, self._folder)
            listener.listen(1)
            self._start(command(program, elf, target))
            self._uart = self._accept(listener, start_timeout_s)

    def _accept(self, listener: socket.socket, timeout_s: float) -> socket.socket:
        listener.settimeout(POLL_S)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            try:
                return listener.accept()[0]
            except TimeoutError:
                self._check_alive()
        raise RunError("crash", f"QEMU did not open its UART within {timeout_s:g} s: {self._tail()}")

    def explain(self) -> RunError | None:
        """The fault that QEMU logged (`-d int`), if it logged one; the firmware takes no other exceptions."""
        text = self._text()
        faults = re.findall(r"Taking exception \d+ \[(.*?)\]", text)
        if not faults and "Lockup" not in text:
            return None
        address = re.search(r"at fault address (0x[0-9a-f]+)", text)
        where = int(address[1], 16) if address else None
        detail = faults[0] if faults else "the core locked up"
        return RunError(
            "fault", f"{detail}{f' at data address 0x{where:08x}' if where is not None else ''}", address=where
        )


def command(program: str, elf: Elf, target: Target) -> list[str]:
    """The command line: no display, no monitor, the UART connects to the socket in the folder that it runs in."""
    assert target.qemu is not None
    return [
        program, "-machine", target.qemu.machine, "-kernel", str(elf.path.absolute()), "-icount", ICOUNT,
        "-d", "int,guest_errors", "-display", "none", "-monitor", "none", "-parallel", "none", "-nodefaults",
        "-chardev", f"socket,id=uart,path={UART},server=off", "-serial", "chardev:uart",
    ]  # fmt: skip


def _bind(listener: socket.socket, folder: Path) -> None:
    """A socket's name has room for some 100 bytes and TMPDIR may be longer: Linux names a folder by its descriptor."""
    if sys.platform != "linux":
        listener.bind(str(folder / UART))
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{UART}")
    finally:
        os.close(descriptor)


class QemuEmulator:
    """See `emulators.Emulator`."""

    independent = True
    auto_images = 0  # Unicorn is as quick

    def unavailable_because(self, target: Target) -> str:
        return not_listed("qemu", target) or unavailable_because()

    def open(self, elf: Elf, target: Target) -> Link:
        return QemuBoard(elf, target)

    def instructions(self, link: Link, target: Target, ticks: Callable[[], int]) -> int:
        return round(ticks() / TIMER_TICKS_PER_INSTRUCTION)


EMULATOR: Emulator = QemuEmulator()
