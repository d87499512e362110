"""The Cortex-M4: how it is built for and emulated, and its cycle table.

Source: Cortex-M4 Technical Reference Manual (Arm DDI 0439B), table 3-1 (core), 7-1 (FPU) and section 3.3.2 (load/store
timings). Where the manual gives a range, the value is the one that fits published measurements (docs/benchmarking.md).

| instructions                                   | cycles |
|------------------------------------------------|--------|
| data processing, shifts, saturation, IT, NOP   | 1 |
| multiply, multiply-accumulate, all DSP         | 1 |
| SDIV, UDIV                                     | 7 (2..12, by the quotient's length) |
| LDR and relatives, alone                       | 2 |
| each further load directly behind a load       | 1 (pipelined; same memory, address not just loaded) |
| STR and relatives                              | 1 (write buffer) |
| LDRD, LDM, POP, VLDM; STRD, STM, PUSH, VSTM    | 1 + registers |
| branch not taken                               | 1 |
| branch taken, call, return                     | 3 (1 + pipeline refill of 1..3) |
| table branch                                   | 4 |
| FPU add, multiply, compare, convert, move      | 1 |
| FPU move of two registers                      | 2 |
| FPU multiply-accumulate                        | 3 |
| VDIV, VSQRT                                    | 14 |
| VLDR, VSTR                                     | 2 |
"""

from __future__ import annotations

from patchline.cores.core import Block, Core, CycleModel, Instruction

REFILL = 2
DIVIDE, FPU_DIVIDE, FPU_MAC = 7, 14, 3


def block_cycles(block: Block) -> int:
    """Cycles of the block when its last branch is not taken."""
    total = 0
    previous: Instruction | None = None
    for instruction in block.instructions:
        pipelined = is_load(instruction) and previous is not None and _pipelines(previous, instruction)
        total += 1 if pipelined else _cycles(instruction)
        previous = instruction
    return total


def exit_cycles(block: Block, edges: dict[int, int]) -> int:
    """Pipeline refills of the block's exits, for `edges` = executions by following address."""
    last = block.instructions[-1]
    if not last.jump:
        return 0
    return sum(REFILL * count for following, count in edges.items() if following != block.end or not last.conditional)


def is_load(instruction: Instruction) -> bool:
    """A load of one register from memory."""
    name = instruction.mnemonic
    return name.startswith("ldr") and name not in ("ldrd", "ldrex")


def _pipelines(previous: Instruction, instruction: Instruction) -> bool:
    same_memory = (previous.base == "pc") == (instruction.base == "pc")
    return is_load(previous) and same_memory and not previous.jump and instruction.base not in _loaded(previous)


def _loaded(instruction: Instruction) -> frozenset[str]:
    return instruction.writes - {instruction.base}


def _cycles(instruction: Instruction) -> int:
    name = instruction.mnemonic
    if name in ("ldrd", "strd"):
        return 3
    if instruction.count and (name.startswith(("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop"))):
        return 1 + instruction.count
    if is_load(instruction) or name.startswith(("vldr", "vstr")):
        return 2
    if name in ("sdiv", "udiv"):
        return DIVIDE
    if name.startswith(("vdiv", "vsqrt")):
        return FPU_DIVIDE
    if name.startswith(("vmla", "vmls", "vfma", "vfms", "vnmla", "vnmls", "vfnma", "vfnms")):
        return FPU_MAC
    if name in ("tbb", "tbh") or (name == "vmov" and len(instruction.operands) > 2):
        return 2
    return 1


CORE = Core(
    name="cortex-m4",
    flags="-DPL_DUAL_ISSUE=0",  # the assembly kernels order their instructions by it
    fpu="fpv4-sp-d16",
    emulated_as="CORTEX_M4",
    cpuid=0x410F_C241,
    cycles=CycleModel("m4", block_cycles, exit_cycles),
    defines={"BOARD_CORTEX_M7": 0},
)
