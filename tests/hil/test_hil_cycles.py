"""The cycle tables against sequences counted by hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.cores.armv7em import cortex_m4, cortex_m7
from patchline.hil import cycles
from patchline.hil.blocks import Block, BlockCache
from patchline.hil.cycles import LineCache, cost_by_owner
from patchline.hil.trace import OUTSIDE, RUNTIME, SIZE_SHIFT, Division

AT = 0x0800_0000
pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-as") is None, reason="arm-none-eabi-as is not installed")


@pytest.fixture
def assemble(tmp_path: Path):
    def make(text: str, core: str = "cortex-m7") -> Block:
        source, output, raw = (tmp_path / f"block.{end}" for end in ("s", "o", "bin"))
        lines = "\n".join(line.strip() for line in text.split(";"))
        source.write_text(f".syntax unified\n.thumb\n.fpu fpv4-sp-d16\nstart:\n{lines}\n")
        subprocess.run(["arm-none-eabi-as", f"-mcpu={core}", source, "-o", output], check=True)
        subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", output, raw], check=True)
        code = raw.read_bytes()
        return BlockCache(lambda address, size: code[address - AT : address - AT + size]).get(AT, len(code))

    return make


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("adds r0, r1, r2; eors r0, r1; smlad r0, r1, r2, r0; ssat r0, #8, r0", 4),
        ("ldr r0, [r1]", 2),
        ("ldr r0, [r1]; ldr r2, [r1, #4]; ldrb r3, [r1, #8]; ldrsh r4, [r5]", 5),  # 1 + N
        ("ldr r0, [r1]; ldr r2, [r0]", 4),  # the second address is the first value
        ("ldr r0, [r1]; adds r2, r2, r0; ldr r3, [r1]", 5),
        ("str r0, [r1]; strb r2, [r3, #1]; strh r4, [r5, #2]", 3),
        ("ldm r0, {r1, r2, r3}; push {r4, r5}; ldrd r0, r1, [r2]", 4 + 3 + 3),
        ("sdiv r0, r1, r2; udiv r3, r4, r5", 14),
        ("vadd.f32 s0, s1, s2; vmla.f32 s3, s4, s5; vdiv.f32 s6, s7, s8; vldr s0, [r0]", 1 + 3 + 14 + 2),
        ("it eq; moveq r0, r1; cmp r0, #1", 3),
        ("smmlar r0, r1, r2, r3; sxtb16 r4, r5; pkhbt r6, r7, r8, lsl #16", 3),
    ],
)
def test_m4_straight_lines(assemble, code, expected) -> None:
    assert cortex_m4.block_cycles(assemble(code, "cortex-m4")) == expected


def test_m4_branches(assemble) -> None:
    loop = assemble("subs r0, r0, #1; bne start", "cortex-m4")
    assert cortex_m4.block_cycles(loop) == 2
    assert cortex_m4.exit_cycles(loop, {AT: 9, loop.end: 1}) == 9 * 2  # taken: 3 in all, not taken: 1
    for code in ("bx lr", "b start", "bl start", "pop {r4, pc}"):
        assert cortex_m4.exit_cycles(assemble(code, "cortex-m4"), {AT + 100: 4}) == 4 * 2
    assert cortex_m4.exit_cycles(assemble("adds r0, #1", "cortex-m4"), {AT + 2: 5}) == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("adds r0, r1, r2; eors r3, r4", 1),  # two at once
        ("adds r0, r1, r2; adds r0, r0, r3", 2),  # one waits for the other
        ("smlad r0, r1, r2, r0; smlad r3, r4, r5, r3", 2),  # one multiplier
        ("smlad r0, r1, r2, r0; smlad r0, r4, r5, r0; smlad r0, r6, r7, r0", 3),  # the accumulator is forwarded
        ("smlad r0, r1, r2, r0; adds r3, r0, r4", 3),  # others wait a cycle longer
        ("smlad r0, r1, r2, r0; ldr r4, [r5]", 1),
        ("smlad r0, r1, r2, r0; str r4, [r5]", 2),  # not beside a store
        ("ldr r0, [r1]; ldr r2, [r1, #4]", 1),  # different banks
        ("ldr r0, [r1]; ldr r2, [r1, #8]", 2),  # the same bank
        ("ldr r0, [r1]; ldr r2, [r3]", 2),  # nobody knows
        ("ldr r0, [r1]; adds r2, r0, r3", 3),
        ("ldr r0, [r1]; smlad r2, r0, r3, r2", 4),
        ("str r0, [r1]; str r2, [r3]", 2),
        ("sdiv r0, r1, r2", 7),
        ("adds r0, r0, #1; bx lr", 1),
    ],
)
def test_m7_straight_lines(assemble, code, expected) -> None:
    assert cortex_m7.block_cycles(assemble(code)) == expected


def test_m7_mispredicts_the_rarer_exit(assemble) -> None:
    loop = assemble("subs r0, r0, #1; bne start")
    assert cortex_m7.exit_cycles(loop, {AT: 9, loop.end: 1}) == 8
    assert cortex_m7.exit_cycles(assemble("bx lr"), {AT + 4: 5, AT + 8: 5}) == 0


def test_lines_are_kept_as_long_as_they_are_used() -> None:
    cache = LineCache(64, 16)
    assert [cache.miss(a) for a in (0, 4, 16, 32, 48, 0, 64, 16, 0)] == [
        True, False, True, True, True, False, True, True, False,
    ]  # fmt: skip


def test_costs_of_owners_and_waiting_for_flash(assemble) -> None:
    loop = assemble("subs r0, r0, #1; bne start", "cortex-m4")
    cache = BlockCache(lambda address, size: b"")
    cache._blocks[(AT, 4)] = loop
    packed = AT | 4 << SIZE_SHIFT
    division = Division(
        blocks=np.array([packed] * 6),
        owner=np.array([OUTSIDE, RUNTIME, 0, 0, 0, OUTSIDE]),
        firing=np.array([-1, -1, 0, 0, 1, -1]),
    )
    f412 = targets.load("stm32f412")
    costs = cost_by_owner(division, cache, f412, {0: 2})
    assert (costs[0].instructions, costs[RUNTIME].instructions) == (6, 2)
    # all of the code fits the instruction cache: one line each; two data lines of three wait states for op 0
    assert (costs[RUNTIME].flash_stalls_est, costs[0].flash_stalls_est) == (3, 3 + 6)
    assert costs[0].cycles_est == 3 * 2 + 3 * 2 + 9
    free = cost_by_owner(division, cache, targets.load("mps2-an386"), {})
    assert (free[0].cycles_est, free[0].flash_stalls_est) == (12, 0)
    assert cycles.version(f412) == f"m4-{cycles.VERSION}"
