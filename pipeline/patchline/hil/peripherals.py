"""Registers that the Unicorn board answers: three UART kinds, cycle counters, and plain storage for the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from patchline.targets import Uart, UartKind

PERIPHERALS = (0x4000_0000, 0x2000_0000)  # origin, size of Armv7-M's peripheral region
SYSTEM = (0xE000_0000, 0x0010_0000)  # private peripheral bus: SCS, DWT, ITM

DWT_CTRL, DWT_CYCCNT = 0xE000_1000, 0xE000_1004
CPUID = 0xE000_ED00
MPS2_TIMER0_VALUE = 0x4000_0004
# QEMU with `-icount shift=6` gives each instruction 64 ns, 1.6 ticks of the MPS2's 25 MHz timer.
TIMER_TICKS_PER_INSTRUCTION = 64e-9 * 25e6

IDLE_POLLS = 8  # status reads without any transfer after which the device is taken to wait for input


@dataclass(frozen=True)
class UartLayout:
    """Register offsets and status bits of one UART kind. `receive_empty` inverts nothing: bit set = byte available."""

    status: int
    receive: int
    transmit: int
    receive_ready: int
    idle_status: int  # value of the status register when nothing was received


LAYOUTS: dict[UartKind, UartLayout] = {
    "stm32f4": UartLayout(status=0x00, receive=0x04, transmit=0x04, receive_ready=1 << 5, idle_status=0xC0),
    "stm32f7": UartLayout(status=0x1C, receive=0x24, transmit=0x28, receive_ready=1 << 5, idle_status=0x6000C0),
    "cmsdk": UartLayout(status=0x04, receive=0x00, transmit=0x00, receive_ready=1 << 1, idle_status=0x0),
}


class UartModel:
    """Polled UART with endless queues. `waiting` is set when the device polls an empty receiver again and again."""

    def __init__(self, uart: Uart, on_wait: Callable[[], None]) -> None:
        self.base = uart.base
        self.layout = LAYOUTS[uart.kind]
        self.received: deque[int] = deque()
        self.sent = bytearray()
        self.waiting = False
        self._polls = 0
        self._on_wait = on_wait

    def feed(self, data: bytes) -> None:
        self.received.extend(data)
        self.waiting = False
        self._polls = 0

    def read(self, offset: int) -> int | None:
        """Value of the register, or None when the UART has none of this meaning there."""
        layout = self.layout
        if offset == layout.status:
            if self.received:
                return layout.idle_status | layout.receive_ready
            self._polls += 1
            if self._polls >= IDLE_POLLS:
                self.waiting = True
                self._on_wait()
            return layout.idle_status
        if offset == layout.receive:
            return self.received.popleft() if self.received else 0
        return None

    def write(self, offset: int, value: int) -> bool:
        if offset != self.layout.transmit:
            return False
        self.sent.append(value & 0xFF)
        self._polls = 0
        return True


class Registers:
    """One region of registers: special ones by address, all others read back what was written (0 at reset)."""

    def __init__(self, origin: int, *, uart: UartModel | None = None, instructions: Callable[[], int]) -> None:
        self.origin = origin
        self.uart = uart
        self.instructions = instructions
        self.stored: dict[int, int] = {}
        self._counter_base = 0

    def read(self, _uc: object, offset: int, size: int, _data: object) -> int:
        address = self.origin + offset
        if self.uart is not None and self.uart.base <= address < self.uart.base + 0x400:
            value = self.uart.read(address - self.uart.base)
            if value is not None:
                return value
        if address == DWT_CYCCNT:
            return (self.instructions() - self._counter_base) & 0xFFFF_FFFF
        if self._is_timer(address):
            return (0xFFFF_FFFF - int(self.instructions() * TIMER_TICKS_PER_INSTRUCTION)) & 0xFFFF_FFFF
        word = self.stored.get(address & ~3, 0)
        return (word >> (8 * (address & 3))) & ((1 << (8 * size)) - 1)

    def write(self, _uc: object, offset: int, size: int, value: int, _data: object) -> None:
        address = self.origin + offset
        inside = self.uart is not None and self.uart.base <= address < self.uart.base + 0x400
        if inside and self.uart is not None and self.uart.write(address - self.uart.base, value):
            return
        if address == DWT_CYCCNT:
            self._counter_base = self.instructions() - value
            return
        shift, mask = 8 * (address & 3), (1 << (8 * size)) - 1
        word = self.stored.get(address & ~3, 0)
        self.stored[address & ~3] = (word & ~(mask << shift)) | ((value & mask) << shift)

    def _is_timer(self, address: int) -> bool:
        return address == MPS2_TIMER0_VALUE and self.uart is not None and self.uart.layout is LAYOUTS["cmsdk"]
