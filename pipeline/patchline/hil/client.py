"""The host's side of the serial protocol (docs/serial-protocol.md), the same over every transport.

Commands end in `%`; the device answers lines and closes each command with `m-ready`. While it infers it may ask for
input rows (`x-row-[y,x0,x1]`), which the client answers from the image at hand.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from patchline.hil.link import Link
from patchline.hil.outcome import Exchange, RunError

Int8Array = NDArray[np.int8]
RowSource = Callable[[int, int, int], bytes]

LOAD_CHUNK = 256  # bytes of one `db HEX%`; the device's line buffer holds at least twice as many digits
_ROW = re.compile(r"x-row-\[(\d+),(\d+),(\d+)\]")
_LIST = re.compile(r"^[a-z-]+-\[(.*)\]$")


class Client:
    """One device under test. All methods raise `RunError` (kind protocol, or what the link saw)."""

    def __init__(self, link: Link, *, timeout_s: float = 60.0) -> None:
        self.link = link
        self.timeout_s = timeout_s
        self.rows_asked = 0  # by the last command
        self._pending = b""

    def boot(self) -> tuple[str, ...]:
        """Wait until the device has started; returns what it said."""
        return self._until_ready("(start)", None).lines

    def command(self, text: str, rows: RowSource | None = None) -> Exchange:
        """Send `text` (without `%`) and collect the reply lines up to `m-ready`."""
        self.link.write(text.encode() + b"%")
        return self._until_ready(text, rows)

    def values(self, text: str) -> list[float]:
        """Send a command that answers one bracketed list of numbers."""
        exchange = self.command(text)
        for line in exchange.lines:
            match = _LIST.match(line)
            if match and not line.startswith("e-"):
                return [float(item) for item in match[1].split(",") if item.strip()]
        raise RunError("protocol", f"'{text}%' was answered by {list(exchange.lines)}, a list in brackets was expected")

    def load(self, image: Int8Array) -> None:
        """Lay a whole input image (int8 HWC, as the network reads it) into the device (resident input only)."""
        data = np.ascontiguousarray(image, np.int8).tobytes()
        self._expect_no_error(self.command(f"x-load {len(data)}"))
        done = False
        for start in range(0, len(data), LOAD_CHUNK):
            exchange = self.command(f"db {data[start : start + LOAD_CHUNK].hex()}")
            self._expect_no_error(exchange)
            done = any("m-load-done" in line for line in exchange.lines)
        if not done:
            raise RunError("protocol", f"no m-load-done after {len(data)} bytes of input")

    def infer(self, image: Int8Array | None = None, *, repeat: int = 1) -> Exchange:
        """Run the network on `image` (int8 HWC); rows that the device asks for are answered from it."""
        exchange = self.command(f"infer {repeat}", row_source(image) if image is not None else None)
        self._expect_no_error(exchange)
        return exchange

    def outputs(self) -> Int8Array:
        """The int8 output tensors of the last inference, one behind the other."""
        return np.array(self.values("x-out"), dtype=np.int8)

    def _expect_no_error(self, exchange: Exchange) -> None:
        for line in exchange.lines:
            if line.startswith("e-["):
                raise RunError("protocol", f"'{exchange.command[:40]}%' was answered by {line}")

    def _until_ready(self, command: str, rows: RowSource | None) -> Exchange:
        lines: list[str] = []
        self.rows_asked = 0
        while True:
            line = self._line(command)
            request = _ROW.fullmatch(line)
            if line == "m-ready":
                return Exchange(command, tuple(lines))
            if line.startswith("e-[fault"):
                raise _reported_fault(line, self.link.explain())
            if request:
                y, x0, x1 = (int(value) for value in request.groups())
                if rows is None:
                    raise RunError("protocol", f"the device asks for input row {y}, but no image was given")
                self.rows_asked += 1
                self.link.write(b"row " + rows(y, x0, x1).hex().encode() + b"%")
            elif line:
                lines.append(line)

    def _line(self, command: str) -> str:
        deadline = time.monotonic() + self.timeout_s
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            data = self.link.read(min(max(left, 0.0), 1.0))
            if not data and getattr(self.link, "waits_for_host", False):
                raise RunError("protocol", f"the device waits for input, but no m-ready came for '{command[:40]}%'")
            if not data and left <= 0:
                raise self.link.explain() or RunError(
                    "hang", f"no answer to '{command[:40]}%' within {self.timeout_s:g} s"
                )
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return line.decode("ascii", "replace").strip()


def row_source(image: Int8Array) -> RowSource:
    """Answers requests for columns [x0, x1) of row y from an int8 HWC image; RunError when outside."""
    height, width, _ = image.shape

    def rows(y: int, x0: int, x1: int) -> bytes:
        if not (0 <= y < height and 0 <= x0 < x1 <= width):
            raise RunError("protocol", f"the device asks for row {y}, columns {x0}..{x1} of a {height}x{width} image")
        return image[y, x0:x1].tobytes()

    return rows


def _reported_fault(line: str, logged: RunError | None) -> RunError:
    """The fault that the firmware's handler printed, with what the emulator logged of it."""
    fields = dict(re.findall(r"(pc|address|op)=(-?(?:0x)?[0-9a-fA-F]+)", line))
    op, pc, address = (int(fields[name], 0) if name in fields else None for name in ("op", "pc", "address"))
    seen = f" ({logged.detail})" if logged else ""
    if logged and not address:
        address = logged.address
    return RunError(
        "fault", f"the device reports {line}{seen}", op=op if op is None or op >= 0 else None, pc=pc, address=address
    )
