"""A real board on a serial port (pyserial). Resets and flashing are the user's: see docs/adding-a-board.md."""

from __future__ import annotations

import serial

from patchline.errors import UserError
from patchline.hil.outcome import RunError


class SerialBoard:
    """A `link.Link` to the device at `port` (such as /dev/ttyACM0), 8 data bits, no parity."""

    def __init__(self, port: str, baud: int) -> None:
        try:
            self._port = serial.Serial(port, baud, timeout=0.05, write_timeout=10)
        except (serial.SerialException, ValueError, OSError) as error:
            raise UserError(
                f"cannot open the serial port {port}: {error}; is the board connected, may you use it?"
            ) from None
        self._port.reset_input_buffer()

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialException as error:
            raise RunError("crash", f"the serial port failed: {error}") from None

    def read(self, timeout_s: float) -> bytes:
        self._port.timeout = timeout_s
        try:
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting)) if first else b""
        except (serial.SerialException, OSError) as error:
            raise RunError("crash", f"the serial port failed: {error}") from None

    def explain(self) -> RunError | None:
        """A board that is silent does not say why."""
        return None

    def close(self) -> None:
        self._port.close()
