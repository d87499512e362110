"""The board in process: right values, counts per operator, and every kind of broken firmware named for what it is."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from unicorn import UC_HOOK_MEM_WRITE
from unicorn.arm_const import UC_ARM_REG_R1, UC_ARM_REG_R3, UC_ARM_REG_R4

from patchline import targets
from patchline.build.elf import load
from patchline.errors import UserError
from patchline.hil.client import Client, row_source
from patchline.hil.functions import behind_conditional_accesses
from patchline.hil.outcome import RunError
from patchline.hil.trace import OUTSIDE, divide
from patchline.hil.unicorn_board import UnicornBoard

BOARDS = ("stm32f412", "stm32f746", "stm32h743", "stm32l4r5", "mps2-an386", "mps2-an500")


@pytest.mark.parametrize("name", BOARDS)
def test_outputs_are_right_over_the_uart_and_with_rows_served(tiny, images, reference, name) -> None:
    board = UnicornBoard(tiny(name), targets.load(name))
    client = Client(board)
    client.boot()
    for image in images:
        client.infer(image)
        assert np.array_equal(client.outputs(), reference(image))
    with board.serve_rows(row_source(images[0])):
        client.infer()
    assert np.array_equal(client.outputs(), reference(images[0]))
    assert 0 < board.stack_used() < 512


def test_a_trace_divides_instructions_among_operators(tiny, images) -> None:
    board = UnicornBoard(tiny("stm32f412"), targets.load("stm32f412"))
    client = Client(board)
    client.boot()
    counts = []
    for serve in (True, False):
        with board.record() as trace:
            if serve:
                with board.serve_rows(row_source(images[0])):
                    client.infer()
            else:
                client.infer(images[0])
        division = divide(trace, infer="pl_infer", fire="pl_fire", row="board_read_row")
        assert division.firing.max() == 8  # eight rows of op 0, one of op 1
        lengths = np.array(
            [len(board.blocks.get(int(p) & 0xFFFFFFFF, int(p) >> 32).instructions) for p in division.blocks]
        )
        counts.append({int(o): int(lengths[division.owner == o].sum()) for o in set(division.owner) if o != OUTSIDE})
    assert counts[0] == counts[1]  # the wait for the host belongs to nobody
    assert counts[0][0] > 8 * 8 * 2 > counts[0][1] > 0


def test_a_trace_counts_the_same_however_often_the_run_is_interrupted(tiny, images, monkeypatch) -> None:
    counts = []
    for chunk in (400_000, 1_000, 17):
        monkeypatch.setattr("patchline.hil.unicorn_board.CHUNK_BLOCKS", chunk)
        board = UnicornBoard(tiny("stm32f412", "REPEAT=3000"), targets.load("stm32f412"))
        client = Client(board)
        client.boot()
        with board.record() as trace, board.serve_rows(row_source(images[0])):
            client.infer()
        counts.append(len(trace.blocks()))
    assert len(set(counts)) == 1
    assert counts[0] > 20_000


def test_the_cycle_counter_counts_instructions_while_recording(tiny, images) -> None:
    board = UnicornBoard(tiny("stm32f746"), targets.load("stm32f746"))
    client = Client(board)
    client.boot()
    with board.record():
        client.infer(images[0])
        total, waited = client.values("x-cycles")
    assert 500 < total - waited < 900


BROKEN = [
    (["BREAK_WRITE=0x20040000u"], "fault", 0x2004_0000, "write to unmapped memory"),
    (["BREAK_WRITE=0x08000000u"], "fault", 0x0800_0000, "write to flash"),
    (["BREAK_UNDEFINED"], "fault", None, "undefined instruction"),
    (["BREAK_STACK=40"], "stack-overflow", None, "below its limit"),
    (["BREAK_LOOP"], "hang", None, "instructions executed"),
]


@pytest.mark.parametrize(("defines", "kind", "address", "text"), BROKEN)
@pytest.mark.parametrize("stack_first", [True, False])
def test_a_broken_firmware_is_reported_as_what_it_is(tiny, images, defines, kind, address, text, stack_first) -> None:
    elf = tiny("stm32f412", *defines, stack_first=stack_first)
    board = UnicornBoard(elf, targets.load("stm32f412"), limit_instructions=1_000_000)
    client = Client(board)
    client.boot()
    with pytest.raises(RunError, match=text) as caught, board.record(), board.serve_rows(row_source(images[0])):
        client.infer()
    error = caught.value
    assert (error.kind, error.op) == (kind, 1)
    assert address is None or error.address == address
    where = "recurse" if kind == "stack-overflow" else "pl_fire"
    symbol = elf.symbols[where]
    assert error.pc is not None and symbol.address <= error.pc < symbol.address + symbol.size
    assert where in str(error)
    assert "op 1 'sum'" in str(error.named(("row", "sum")))


def test_an_endless_loop_also_ends_without_a_trace(tiny, images) -> None:
    board = UnicornBoard(tiny("stm32f412", "BREAK_LOOP"), targets.load("stm32f412"), limit_s=0.5)
    client = Client(board)
    client.boot()
    with pytest.raises(RunError, match="still running") as caught, board.serve_rows(row_source(images[0])):
        client.infer()
    assert (caught.value.kind, caught.value.op) == ("hang", 1)


def test_a_firmware_for_another_board_is_refused(tiny) -> None:
    with pytest.raises(UserError, match="linked for another target"):
        UnicornBoard(tiny("mps2-an386"), targets.load("stm32f412"))


def test_an_unknown_command_is_an_error_and_the_device_goes_on(tiny, images, reference) -> None:
    client = Client(UnicornBoard(tiny("stm32f412"), targets.load("stm32f412")))
    client.boot()
    assert client.command("nonsense").lines == ("e-[unknown command]",)
    with pytest.raises(RunError, match="list in brackets"):
        client.values("nonsense")
    client.infer(images[1])
    assert np.array_equal(client.outputs(), reference(images[1]))


IT_BLOCK = """
    .syntax unified
    movs r0, #0
    cmp r0, #0
    it eq
    ldreq r2, [r1]      @ the first access to its page, inside an IT block
    cmp r0, #1          @ the condition does not hold any more
    blx r3
    nop
    .balign 4
callee:
    movs r4, #1
    adds r4, #2
    adds r4, #4
    bx lr
"""


def test_the_first_access_to_a_page_leaves_no_it_block_behind(tiny, tmp_path) -> None:
    """Unicorn restores the core's IT state when it fills its TLB; left so, the callee would lose instructions."""
    (tmp_path / "it.s").write_text(IT_BLOCK)
    for command in ("as -mcpu=cortex-m4 -mthumb it.s -o it.o", "objcopy -O binary it.o it.bin"):
        subprocess.run(f"arm-none-eabi-{command}".split(), cwd=tmp_path, check=True)
    code = (tmp_path / "it.bin").read_bytes()
    board = UnicornBoard(tiny("stm32f412"), targets.load("stm32f412"))
    start = board.target.flash.origin + 0x8000
    board.uc.mem_write(start, code)
    board.uc.reg_write(UC_ARM_REG_R1, board.target.sram.origin + 0x3000)
    board.uc.reg_write(UC_ARM_REG_R3, start + len(code) - 8 + 1)
    board.uc.emu_start(start + 1, start + 12)  # up to the NOP
    assert board.uc.reg_read(UC_ARM_REG_R4) == 7


FLASH_IN_IT_BLOCK = """
    .syntax unified
    .thumb
    .word 0x20001000, start + 1
    .global start
    .type start, %function
    .thumb_func
start:
    ldr r1, =table
    movs r0, #0
    bl read             @ as often as it takes to be past the first access to the page
    bl read
    cmp r0, #0
    ite eq
    ldreq r2, [r1]
    ldrne r2, [r1, #4]
    bl callee
    nop
    .size start, . - start
    .type read, %function
    .thumb_func
read:
    ldr r2, [r1]
    bx lr
    .size read, . - read
    .type callee, %function
    .thumb_func
callee:
    movs r4, #1
    adds r4, #2
    bx lr
    .size callee, . - callee
    .balign 4
table:
    .word 1, 2
"""


@pytest.mark.parametrize("store", [False, True])
def test_watching_memory_leaves_no_it_block_behind(tmp_path, store: bool) -> None:
    """Ahead of a hook for a memory access Unicorn restores the IT state too."""
    code = FLASH_IN_IT_BLOCK
    if store:
        code = code.replace("ldreq", "streq").replace("ldrne", "strne").replace("=table", "=0x20002000")
    (tmp_path / "it.s").write_text(code)
    flash = targets.load("stm32f412").flash.origin
    for command in ("as -mcpu=cortex-m4 -mthumb it.s -o it.o", f"ld -Ttext={flash:#x} -e start it.o -o it.elf"):
        subprocess.run(f"arm-none-eabi-{command}".split(), cwd=tmp_path, check=True)
    firmware = load(tmp_path / "it.elf")
    start, callee = (firmware.symbols[name] for name in ("start", "callee"))
    assert behind_conditional_accesses(firmware) == (start.address + start.size - 6,)  # the last call, before the NOP
    board = UnicornBoard(firmware, targets.load("stm32f412"))
    sram = board.target.sram.origin
    watching = board.hooks([(UC_HOOK_MEM_WRITE, lambda *_: None, sram, sram + 0x4000)]) if store else board.record()
    with watching:
        board.uc.emu_start(start.address + 1, callee.address + callee.size - 2)
    assert board.uc.reg_read(UC_ARM_REG_R4) == 3
