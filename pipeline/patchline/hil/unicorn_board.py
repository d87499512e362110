"""The board in process: Unicorn with exactly the board's memory regions, so that an access outside of them faults.

Beside the UART it can answer input rows directly (`serve_rows`): the call of `board_read_row` is taken over and the
pixels are written where the firmware wants them. It can record executed blocks (`record`), from which instructions and
cycle estimates follow. Unicorn knows no interrupts here; an exception of the core ends the run as a fault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from unicorn import (
    UC_ARCH_ARM,
    UC_HOOK_BLOCK,
    UC_HOOK_CODE,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_HOOK_TLB_FILL,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    UC_PROT_ALL,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    UC_TLB_VIRTUAL,
    Uc,
    UcError,
    arm_const,
)
from unicorn.arm_const import (
    UC_ARM_REG_C1_C0_2,
    UC_ARM_REG_EPSR,
    UC_ARM_REG_FPEXC,
    UC_ARM_REG_LR,
    UC_ARM_REG_PC,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_R3,
    UC_ARM_REG_SP,
)
from unicorn.unicorn_const import (
    UC_ERR_FETCH_PROT,
    UC_MEM_FETCH,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_READ_UNMAPPED,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
)

from patchline import cores
from patchline.build.elf import Elf
from patchline.errors import UserError
from patchline.hil.blocks import BlockCache
from patchline.hil.client import RowSource
from patchline.hil.cycles import LineCache
from patchline.hil.emulators import UNICORN, Emulator, not_listed
from patchline.hil.functions import FIRE, HALT, INFER, ROW, behind_conditional_accesses
from patchline.hil.link import Link
from patchline.hil.outcome import RunError
from patchline.hil.peripherals import CPUID, PERIPHERALS, SYSTEM, Registers, UartModel
from patchline.hil.trace import RUNTIME, SIZE_SHIFT, Call, Trace
from patchline.targets import Target

HookRequest = tuple[int, Callable[..., Any], int, int]  # kind, callback, first and last address

PAGE = 4096
NOWHERE = 0xFFFF_FFF0  # `until` address that no firmware reaches
CHUNK_BLOCKS = 400_000  # blocks recorded before they are packed and the instruction limit is looked at
STACK_NEAR = 4096  # an access this close below the stack's limit, with the pointer beyond it, is an overflow
EPSR_THUMB = 1 << 24
STACK_PAINT = 0xA5A5_A5A5

_ACCESS = {
    UC_MEM_READ_UNMAPPED: "read from unmapped memory",
    UC_MEM_WRITE_UNMAPPED: "write to unmapped memory",
    UC_MEM_WRITE_PROT: "write to flash",
    UC_MEM_FETCH_UNMAPPED: "jump into unmapped memory",
    UC_MEM_FETCH_PROT: "jump into memory that holds no code",
}


class UnicornBoard:
    """A `link.Link`. `limit_s` and `limit_instructions` (the latter while recording) end a run that has no end."""

    def __init__(
        self, elf: Elf, target: Target, *, limit_s: float = 120.0, limit_instructions: int = 4_000_000_000
    ) -> None:
        self.elf = elf
        self.target = target
        self.limit_s = limit_s
        self.limit_instructions = limit_instructions
        self.trace: Trace | None = None
        self.op: int | None = None
        self.blocks = BlockCache(lambda address, size: bytes(self.uc.mem_read(address, size)))
        self._counted = 0  # blocks of the trace that are already in `_total`
        self._total = 0
        self._counts: dict[int, int] = {}  # instructions of each packed block
        self.data_misses: dict[int, int] = {}  # per owner of a trace, see `_watch_flash`
        self._failure: RunError | None = None
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{cores.load(target.core).emulated_as}"))
        self.uart = UartModel(target.uart, self.uc.emu_stop)
        self._map()
        self._load()
        self._hook()

    # -- the interface of a link ---------------------------------------------------------------------------------
    @property
    def waits_for_host(self) -> bool:
        """True when the device polls its empty receiver: nothing more will come until something is written."""
        return self.uart.waiting and not self.uart.sent

    def write(self, data: bytes) -> None:
        self.uart.feed(data)

    def read(self, timeout_s: float) -> bytes:
        """Run until the device waits for input; what it sent. `timeout_s` is not used: the run has its own limits."""
        if not self.uart.waiting:
            self._run()
        sent = bytes(self.uart.sent)
        self.uart.sent.clear()
        return sent

    def explain(self) -> RunError | None:
        """Nothing to add: a fault is raised where it happens."""
        return None

    def close(self) -> None:
        """Nothing to stop: the core runs only inside `read`."""

    # -- control beyond a link -----------------------------------------------------------------------------------
    @contextmanager
    def serve_rows(self, rows: RowSource) -> Iterator[None]:
        """Answer input rows in place of the UART while the block runs."""
        symbol = self._symbol(ROW)

        def answer(uc: Uc, _address: int, _size: int, _data: object) -> None:
            y, x0, x1, into, back = (
                uc.reg_read(r) for r in (UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3, UC_ARM_REG_LR)
            )
            try:
                uc.mem_write(into, rows(y, x0, x1))
            except (RunError, UcError) as error:
                self._failure = error if isinstance(error, RunError) else self._fault(f"input row {y}: {error}", into)
                uc.emu_stop()
                return
            uc.reg_write(UC_ARM_REG_R0, 0)
            uc.reg_write(UC_ARM_REG_PC, back)

        with self.hooks([(UC_HOOK_CODE, answer, symbol, symbol)]):
            yield

    @contextmanager
    def record(self) -> Iterator[Trace]:
        """Record executed blocks while the block runs (about ten times slower than without)."""
        trace = self.trace = Trace()
        self._counted = self._total = 0
        append = trace.pending.append
        pending, chunk = trace.pending, CHUNK_BLOCKS

        def block(uc: Uc, address: int, size: int, _data: object) -> None:
            append(address | size << SIZE_SHIFT)
            if len(pending) > chunk:
                uc.emu_stop()

        def enter(name: str) -> Callable[[Uc, int, int, object], None]:
            def note(uc: Uc, _address: int, _size: int, _data: object) -> None:
                back, argument = uc.reg_read(UC_ARM_REG_LR) & ~1, uc.reg_read(UC_ARM_REG_R0)
                trace.calls.append(Call(trace.length - 1, name, back, argument))

            return note

        hooks: list[HookRequest] = [(UC_HOOK_BLOCK, block, 1, 0)]
        for name in (INFER, FIRE, ROW):
            symbol = self.elf.find(name)
            if symbol is not None:
                hooks.append((UC_HOOK_CODE, enter(name), symbol.address, symbol.address))
        try:
            with self.hooks([*hooks, *self._guard_stack(), *self._watch_flash()]):
                yield trace
        finally:
            self.trace = None

    def instructions(self) -> int:
        """Instructions recorded so far; 0 when nothing is recorded."""
        if self.trace is None:
            return 0
        new, counts = self.trace.pending, self._counts
        for packed in new[len(new) - (self.trace.length - self._counted) :]:
            known = counts.get(packed)
            if known is None:
                block = self.blocks.get(packed & 0xFFFF_FFFF, packed >> SIZE_SHIFT)
                known = counts[packed] = len(block.instructions)
            self._total += known
        self._counted = self.trace.length
        return self._total

    def stack_used(self) -> int:
        """High-water mark of the painted stack in bytes (0 where the firmware has no `.stack` section)."""
        stack = self.elf.stack
        if stack is None:
            return 0
        content = bytes(self.uc.mem_read(stack.address, stack.size))
        paint = STACK_PAINT.to_bytes(4, "little")
        clean = 0
        while clean + 4 <= stack.size and content[clean : clean + 4] == paint:
            clean += 4
        return stack.size - clean

    # -- inside ----------------------------------------------------------------------------------------------------
    @contextmanager
    def hooks(self, requests: list[HookRequest]) -> Iterator[None]:
        """Hooks for the length of the block. Code translated before must be dropped: it knows nothing of them."""
        if any(kind in (UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE) for kind, *_ in requests):
            requests = requests + [(UC_HOOK_CODE, leave_it_block, at, at) for at in self._behind_it_accesses]
        handles = [self.uc.hook_add(kind, callback, begin=low, end=high) for kind, callback, low, high in requests]
        self.uc.ctl_flush_tb()
        try:
            yield
        finally:
            for handle in handles:
                self.uc.hook_del(handle)
            self.uc.ctl_flush_tb()

    def _map(self) -> None:
        flash, sram = self.target.flash, self.target.sram
        self.uc.mem_map(flash.origin, _pages(flash.size), UC_PROT_READ | UC_PROT_EXEC)
        self.uc.mem_map(sram.origin, _pages(sram.size), UC_PROT_READ | UC_PROT_WRITE)
        self.registers = Registers(PERIPHERALS[0], uart=self.uart, instructions=self.instructions)
        self.system = Registers(SYSTEM[0], instructions=self.instructions)
        self.system.stored[CPUID] = cores.load(self.target.core).cpuid
        for (origin, size), registers in ((PERIPHERALS, self.registers), (SYSTEM, self.system)):
            self.uc.mmio_map(origin, size, registers.read, None, registers.write, None)

    def _load(self) -> None:
        flash = self.target.flash
        for address, content in self.elf.segments:
            if not flash.origin <= address <= address + len(content) <= flash.end:
                end = address + len(content)
                raise UserError(
                    f"{self.elf.path} loads 0x{address:08x}..0x{end:08x}, but the flash of {self.target.name} is "
                    f"0x{flash.origin:08x}..0x{flash.end:08x}: was it linked for another target?"
                )
            self.uc.mem_write(address, content)
        stack, entry = (int.from_bytes(self.uc.mem_read(flash.origin + 4 * i, 4), "little") for i in range(2))
        self.uc.reg_write(UC_ARM_REG_SP, stack)
        self.uc.reg_write(UC_ARM_REG_LR, 0xFFFF_FFFF)
        self.uc.reg_write(UC_ARM_REG_PC, entry | 1)
        self.pc = entry | 1
        if self.target.fpu:  # Unicorn has no CPACR at its address, so the FPU is on from the start
            self.uc.reg_write(UC_ARM_REG_C1_C0_2, 0xF << 20)
            self.uc.reg_write(UC_ARM_REG_FPEXC, 0x4000_0000)

    def _hook(self) -> None:
        """Faults, exceptions and the operator that runs, and quick stores.

        Unicorn takes a slow path (some 60 ns a store) through every page that may hold code or that a memory hook
        watches. So SRAM enters its TLB as memory without code, and the hook for invalid accesses leaves it out.
        """
        sram = self.target.sram
        self.uc.ctl_set_tlb_mode(UC_TLB_VIRTUAL)
        self.uc.hook_add(UC_HOOK_TLB_FILL, self._on_tlb_fill)
        for low, high in ((0, sram.origin - 1), (sram.origin + _pages(sram.size), 0xFFFF_FFFF)):
            self.uc.hook_add(UC_HOOK_MEM_INVALID, self._on_invalid, begin=low, end=high)
        self.uc.hook_add(UC_HOOK_INTR, self._on_exception)
        self.uc.hook_add(UC_HOOK_INSN_INVALID, self._on_undefined)
        fire, halt = self.elf.find(FIRE), self.elf.find(HALT)
        if fire is not None:
            self.uc.hook_add(UC_HOOK_CODE, self._on_fire, begin=fire.address, end=fire.address)
        if halt is not None:
            self.uc.hook_add(UC_HOOK_CODE, self._on_halt, begin=halt.address, end=halt.address)

    def _run(self) -> None:
        """Until the device waits for input. Raises the RunError that ended the run otherwise."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.uc.emu_stop()

        # A timer of our own: Unicorn's `timeout` polls the clock every few microseconds.
        timer = threading.Timer(self.limit_s, stop)
        timer.start()
        try:
            while not self.uart.waiting:
                self._continue()
                if late.is_set() and not self.uart.waiting:
                    raise self._hang(f"still running after {self.limit_s:g} s")
        finally:
            timer.cancel()

    def _continue(self) -> None:
        """Run until the core is stopped by anything; take stock of the trace and of failures."""
        try:
            self.uc.emu_start(self.pc, NOWHERE)
        except UcError as error:
            in_sram = error.errno == UC_ERR_FETCH_PROT  # not announced to `_on_invalid`
            what = _ACCESS[UC_MEM_FETCH_PROT] if in_sram else str(error)
            self._failure = self._failure or self._fault(what, None)
        self.pc = self.uc.reg_read(UC_ARM_REG_PC) | 1
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self.trace is not None:
            if len(self.trace.pending) > CHUNK_BLOCKS:
                self.trace.pending.pop()  # stopped in front of this block; it is announced again
            count = self.instructions()
            self.trace.flush()
            if count > self.limit_instructions:
                raise self._hang(f"{count:,} instructions executed (limit {self.limit_instructions:,})")

    def _hang(self, detail: str) -> RunError:
        pc = self.pc & ~1
        return RunError("hang", f"{detail}, last at {self.elf.where(pc)}", op=self.op, pc=pc)

    def _fault(self, what: str, address: int | None) -> RunError:
        pc = self.uc.reg_read(UC_ARM_REG_PC) & ~1
        sp = self.uc.reg_read(UC_ARM_REG_SP)
        at = "" if address is None else f" 0x{address:08x}"
        stack = self.elf.stack
        if stack is not None and sp < stack.address:
            detail = f"stack pointer 0x{sp:08x} is {stack.address - sp} bytes below its limit, {what}{at}"
            return RunError("stack-overflow", f"{detail} at {self.elf.where(pc)}", op=self.op, pc=pc, address=address)
        return RunError("fault", f"{what}{at} at {self.elf.where(pc)}", op=self.op, pc=pc, address=address)

    def _on_invalid(self, uc: Uc, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        self._failure = self._fault(f"{size}-byte {_ACCESS.get(access, 'invalid access')}", address)
        return False

    def _on_tlb_fill(self, uc: Uc, address: int, access: int, entry: Any, _data: object) -> bool:
        if access != UC_MEM_FETCH:
            leave_it_block(uc)
        sram = self.target.sram
        data = sram.origin <= address < sram.origin + _pages(sram.size) and access != UC_MEM_FETCH
        entry.paddr = address
        entry.perms = UC_PROT_READ | UC_PROT_WRITE if data else UC_PROT_ALL  # what is mapped how is checked elsewhere
        return True

    def _on_exception(self, uc: Uc, number: int, _data: object) -> None:
        self._failure = self._fault(f"exception {number} of the core", None)
        uc.emu_stop()

    def _on_undefined(self, _uc: Uc, _data: object) -> bool:
        self._failure = self._fault("undefined instruction", None)
        return False

    def _on_fire(self, uc: Uc, _address: int, _size: int, _data: object) -> None:
        self.op = uc.reg_read(UC_ARM_REG_R0)

    def _on_halt(self, uc: Uc, _address: int, _size: int, _data: object) -> None:
        self._failure = self._fault("the firmware stopped itself", None)
        uc.emu_stop()

    def _watch_flash(self) -> list[HookRequest]:
        """Count the lines that data reads (weights, tables, literals) bring from flash, per operator."""
        misses: dict[int, int] = {}
        self.data_misses = misses
        timing, flash = self.target.timing, self.target.flash
        if timing.flash_wait_states == 0:
            return []
        miss = LineCache(timing.data_cache_bytes, timing.flash_line_bytes).miss

        def read(_uc: Uc, _access: int, address: int, _size: int, _value: int, _data: object) -> None:
            if miss(address):
                owner = RUNTIME if self.op is None else self.op
                misses[owner] = misses.get(owner, 0) + 1

        return [(UC_HOOK_MEM_READ, read, flash.origin, flash.end - 1)]

    def _guard_stack(self) -> list[HookRequest]:
        """Notice writes below the stack's limit while the stack pointer is there, where other data would be hit."""
        stack = self.elf.stack
        if stack is None:
            return []
        low = max(self.target.sram.origin, stack.address - STACK_NEAR)
        if low >= stack.address:
            return []  # the stack lies at the bottom of the SRAM: the memory map itself faults

        def write(uc: Uc, _access: int, address: int, _size: int, _value: int, _data: object) -> None:
            if uc.reg_read(UC_ARM_REG_SP) < stack.address and self._failure is None:
                self._failure = self._fault("writes", address)
                uc.emu_stop()

        return [(UC_HOOK_MEM_WRITE, write, low, stack.address - 1)]

    @cached_property
    def _behind_it_accesses(self) -> tuple[int, ...]:
        return behind_conditional_accesses(self.elf)

    def _symbol(self, name: str) -> int:
        symbol = self.elf.find(name)
        if symbol is None:
            raise UserError(f"{self.elf.path} has no symbol '{name}': the bench needs a firmware made by Patchline")
        return symbol.address


class UnicornEmulator:
    """See `emulators.Emulator`. The bench itself uses the board directly (`sessions.bulk`, `sessions.traced`)."""

    independent = False
    auto_images = 0  # any number: `auto` falls back to Unicorn

    def unavailable_because(self, target: Target) -> str:
        return not_listed(UNICORN, target)

    def open(self, elf: Elf, target: Target) -> Link:
        return UnicornBoard(elf, target)

    def instructions(self, link: Link, target: Target, ticks: Callable[[], int]) -> None:
        """The board counts only while it records."""
        return


EMULATOR: Emulator = UnicornEmulator()


def leave_it_block(uc: Uc, *_data: object) -> None:
    """Undo what Unicorn does ahead of a hook for a memory access: it restores the state of the IT block that the access
    is in, which nothing clears again, so that instructions behind the block would be skipped."""
    uc.reg_write(UC_ARM_REG_EPSR, EPSR_THUMB)


def _pages(size: int) -> int:
    return (size + PAGE - 1) // PAGE * PAGE
