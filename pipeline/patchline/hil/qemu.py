"""QEMU's MPS2 boards as an independent process: the CMSDK UART on a socket, virtual time tied to instructions.

`-icount shift=6` lets every instruction take 64 ns of virtual time, so that the board's 25 MHz timer advances by
exactly 1.6 ticks per instruction. The firmware times its inference with that timer, and `instructions` turns ticks
back: exact to one instruction per reading of the timer. QEMU has no DWT, and Debian's build brings no plug-in that
counts instructions.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from patchline.errors import UserError
from patchline.hil.elf import Elf
from patchline.hil.outcome import RunError
from patchline.hil.peripherals import TIMER_TICKS_PER_INSTRUCTION
from patchline.targets import Target

ICOUNT = "shift=6,sleep=off"  # sleep=off: an idle core does not wait for the wall clock


def executable() -> str | None:
    """Path of qemu-system-arm, or None."""
    return os.environ.get("QEMU_SYSTEM_ARM") or shutil.which("qemu-system-arm")


def why_not() -> str:
    """Why QEMU cannot be used here, with the remedy; empty when it can."""
    return "" if executable() else "qemu-system-arm is not installed: apt-get install qemu-system-arm"


def instructions(ticks: float) -> int:
    """Instructions behind a difference of timer ticks."""
    return round(ticks / TIMER_TICKS_PER_INSTRUCTION)


class QemuBoard:
    """A `link.Link` to a firmware in qemu-system-arm."""

    def __init__(self, elf: Elf, target: Target, *, start_timeout_s: float = 20.0) -> None:
        if target.qemu is None:
            raise UserError(f"QEMU has no machine for {target.name}; its emulators: {', '.join(target.emulators)}")
        program = executable()
        if program is None:
            raise UserError(why_not())
        self._folder = tempfile.TemporaryDirectory(prefix="patchline-qemu-")
        path = Path(self._folder.name) / "uart"
        self._log = Path(self._folder.name) / "log"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(start_timeout_s)
            self._process = subprocess.Popen(
                command(program, elf, target, path), stdout=self._log.open("wb"), stderr=subprocess.STDOUT
            )
            self._socket = self._accept(listener)
        except BaseException:
            self._folder.cleanup()
            raise
        finally:
            listener.close()

    def _accept(self, listener: socket.socket) -> socket.socket:
        try:
            return listener.accept()[0]
        except TimeoutError:
            self._process.kill()
            self._process.wait()
            raise RunError("crash", f"QEMU did not open its UART: {self._tail()}") from None

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._died(str(error)) from None

    def read(self, timeout_s: float) -> bytes:
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return b""
        except OSError as error:
            raise self._died(str(error)) from None
        if not data:
            raise self._died("the UART closed")
        return data

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _died(self, what: str) -> RunError:
        end = time.monotonic() + 2
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.explain() or RunError("crash", f"QEMU ended ({what}): {self._tail() or 'it said nothing'}")

    def explain(self) -> RunError | None:
        """The fault that QEMU logged (`-d int`), if it logged one; the firmware takes no other exceptions."""
        text = self._log.read_text(errors="replace")
        faults = re.findall(r"Taking exception \d+ \[(.*?)\]", text)
        if not faults and "Lockup" not in text:
            return None
        address = re.search(r"at fault address (0x[0-9a-f]+)", text)
        where = int(address[1], 16) if address else None
        detail = faults[0] if faults else "the core locked up"
        return RunError(
            "fault", f"{detail}{f' at data address 0x{where:08x}' if where is not None else ''}", address=where
        )

    def _tail(self) -> str:
        return " / ".join(self._log.read_text(errors="replace").strip().splitlines()[:4])


def command(program: str, elf: Elf, target: Target, uart: Path) -> list[str]:
    """The command line: no display, no monitor, the UART connects to the socket at `uart`."""
    assert target.qemu is not None
    return [
        program, "-machine", target.qemu.machine, "-kernel", str(elf.path), "-icount", ICOUNT,
        "-d", "int,guest_errors", "-display", "none", "-monitor", "none", "-parallel", "none", "-nodefaults",
        "-chardev", f"socket,id=uart,path={uart},server=off", "-serial", "chardev:uart",
    ]  # fmt: skip
