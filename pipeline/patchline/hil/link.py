"""The one interface behind which every emulator and the real board stand: a byte transport and a little control."""

from __future__ import annotations

from typing import Protocol

from patchline.hil.outcome import RunError


class Link(Protocol):
    """A running firmware. `read` raises `outcome.RunError` when the emulator sees a fault or a hang."""

    def write(self, data: bytes) -> None:
        """Send bytes to the device's UART."""

    def read(self, timeout_s: float) -> bytes:
        """Bytes that the device sent; empty when none came within `timeout_s` (or when the device waits for input)."""

    def explain(self) -> RunError | None:
        """Why the device fell silent, where the emulator knows (a fault it logged); else None."""

    def close(self) -> None:
        """Stop the emulator, or close the port."""
