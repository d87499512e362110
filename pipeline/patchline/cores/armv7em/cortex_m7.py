"""The Cortex-M7: how it is built for and emulated, and its cycle model: two instructions a cycle in order, greedy,
block by block.

Arm publishes no instruction timings for this core; the rules follow the description of its pipeline in the Cortex-M7
Technical Reference Manual (Arm DDI 0489) and public measurements (docs/benchmarking.md).

| rule                                                     | value |
|----------------------------------------------------------|-------|
| issue                                                    | 2 a cycle, in order |
| multiply / DSP / FPU                                     | 1 a cycle, not beside a store |
| stores                                                   | 1 a cycle |
| loads                                                    | 2 a cycle from different banks (word parity), else 1 |
| branches                                                 | 1 a cycle; predicted ones cost nothing more |
| result of an ALU operation is ready after                | 1 cycle |
| a load's value: for the ALU and addresses / a multiplier | 2 / 3 cycles |
| a multiply's value: as accumulator / otherwise           | 1 / 2 cycles |
| FPU result, FPU divide                                   | 3, 16 cycles |
| SDIV, UDIV                                               | 7 cycles, nothing beside |
| multiple load or store                                   | 1 + registers / 2 cycles (64-bit port), nothing beside |
| mispredicted branch                                      | 8 cycles; every exit but the block's most frequent |
"""

from __future__ import annotations

from patchline.cores.core import Block, Core, CycleModel, Instruction

MISPREDICT = 8
DIVIDE, FPU_DIVIDE, FPU_RESULT = 7, 16, 3
LOAD_TO_ALU, LOAD_TO_MULTIPLY, MULTIPLY_TO_OTHER = 2, 3, 2

_ACCUMULATE = ("mla", "mls", "smla", "smmla", "smmls", "smls", "umlal", "umaal")


def block_cycles(block: Block) -> int:
    """Cycles from the block's first issue to the cycle after its last."""
    cycle = 0
    issued: list[Instruction] = []  # in this cycle
    ready: dict[str, tuple[int, str]] = {}  # register -> cycle of issue, kind of its producer
    for instruction in block.instructions:
        kind = kind_of(instruction)
        earliest = max((_available(ready[r], r, instruction, kind) for r in instruction.reads if r in ready), default=0)
        if earliest > cycle:
            cycle, issued = earliest, []
        if not _fits(issued, instruction, kind):
            cycle, issued = cycle + 1, []
        issued = [*issued, instruction]
        busy = _busy(instruction, kind)
        for register in instruction.writes:
            ready[register] = (cycle + busy - 1, kind)
        if busy > 1:
            cycle, issued = cycle + busy, []
    return cycle + (1 if issued else 0)


def exit_cycles(block: Block, edges: dict[int, int]) -> int:
    """Mispredictions: every exit but the most frequent one. Returns are predicted by the return stack."""
    last = block.instructions[-1]
    if not last.jump or not last.conditional:
        return 0
    return MISPREDICT * (sum(edges.values()) - max(edges.values()))


def kind_of(instruction: Instruction) -> str:
    """Class of the instruction: alu, multiply, fpu, load, store, multiple, divide or branch."""
    name = instruction.mnemonic
    if instruction.count and name.startswith(("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")):
        return "multiple"
    if name in ("ldrd", "strd"):
        return "multiple"
    if name.startswith(("ldr", "vldr")):
        return "load"
    if name.startswith(("str", "vstr")):
        return "store"
    if name in ("sdiv", "udiv"):
        return "divide"
    if name.startswith("v"):
        return "fpu"
    if instruction.jump:
        return "branch"
    if name.startswith(
        ("mul", "mla", "mls", "smul", "smla", "smmul", "smmla", "smmls", "smls", "smu", "umul", "umla", "umaal")
    ):
        return "multiply"
    return "alu"


def _busy(instruction: Instruction, kind: str) -> int:
    """Cycles for which nothing else can be issued, 1 for a pipelined instruction."""
    if kind == "multiple":
        return 1 + (max(instruction.count, 2) + 1) // 2
    if kind == "divide":
        return DIVIDE
    if instruction.mnemonic.startswith(("vdiv", "vsqrt")):
        return FPU_DIVIDE
    return 1


def _available(produced: tuple[int, str], register: str, reader: Instruction, kind: str) -> int:
    at, producer = produced
    if producer == "load":
        return at + (LOAD_TO_MULTIPLY if kind == "multiply" else LOAD_TO_ALU)
    if producer == "multiply":
        accumulates = kind == "multiply" and reader.mnemonic.startswith(_ACCUMULATE)
        as_accumulator = accumulates and register in (reader.operands[-1], *reader.operands[:2]) and (
            register not in reader.operands[1:3] or "l" in reader.mnemonic[4:]
        )  # fmt: skip
        return at + (1 if as_accumulator else MULTIPLY_TO_OTHER)
    if producer == "fpu":
        return at + FPU_RESULT
    return at + 1


def _fits(issued: list[Instruction], instruction: Instruction, kind: str) -> bool:
    """Whether the instruction can go beside those already issued in this cycle."""
    if not issued:
        return True
    if len(issued) == 2 or kind in ("multiple", "divide"):
        return False
    first = issued[0]
    other = kind_of(first)
    if {kind, other} == {"load"}:
        same_base = bool(first.base) and first.base == instruction.base
        if not same_base or first.offset is None or instruction.offset is None:
            return False
        return (first.offset // 4 - instruction.offset // 4) % 2 == 1
    single = ("multiply", "fpu")
    if kind in single and other in single:
        return False
    if "store" in (kind, other) and (kind in single or other in single):
        return False
    return not (kind == other and kind in ("store", "branch"))


CORE = Core(
    name="cortex-m7",
    flags="-DPL_DUAL_ISSUE=1",  # the assembly kernels order their instructions by it
    fpu="fpv5-sp-d16",
    emulated_as="CORTEX_M7",
    cpuid=0x411F_C272,
    cycles=CycleModel("m7", block_cycles, exit_cycles),
    defines={"BOARD_CORTEX_M7": 1},
)
