"""The benchmark: a firmware on an emulator over many images, held against the reference, measured and estimated.

Outputs of every image come from one emulator; instructions and cycles from a few traced images on Unicorn. With `auto`
a second, independent emulator repeats a few images where one is present. Any difference ends the benchmark.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline import build
from patchline.build import elf as elf_files
from patchline.build.elf import ARENA
from patchline.errors import UserError
from patchline.hil import cycles, emulators, locate, sessions
from patchline.hil.cases import Case
from patchline.hil.cycles import Cost
from patchline.hil.emulators import UNICORN
from patchline.hil.isolate import Job, stream
from patchline.hil.outcome import RunError
from patchline.hil.sessions import Inference, Setup, StackUse
from patchline.hil.trace import RUNTIME
from patchline.network import reference
from patchline.network.ir import Network
from patchline.network.scores import confusion, constant_accuracy, constant_warning
from patchline.progress import track
from patchline.schedule.plan import Plan

CHECKER_IMAGES = 4  # images that the second emulator repeats
AGREEMENT = 0.001  # by how much instruction counts of two emulators may differ, relative
PER_ROW = 16  # and per input row: the firmware reads its counter inside `board_read_row`, so that entering and leaving
# that call counts as inference, where Unicorn leaves out the whole call


@dataclass(frozen=True)
class OpCost:
    """One row of the per-operator table; instructions are exact, the rest estimated. Averages over traced images."""

    op: str
    kind: str
    block: str
    instructions: int
    cycles_est: int
    flash_stalls_est: int
    latency_ms_est: float


@dataclass(frozen=True)
class Result:
    """What a benchmark found. Counts are of one inference, without the wait for input rows; sizes in bytes."""

    target: str
    emulator: str  # that computed the outputs
    checked_by: str  # emulators that agreed, separated by "+"
    images: int
    outputs: NDArray[np.int8]  # [images, values]
    bit_exact_outputs: float
    accuracy_device: float | None
    accuracy_constant: float | None  # of one and the same answer for every image
    confusion_device: list[list[int]] | None
    sizes: build.Sizes
    stack_bytes: int  # high-water mark of the painted stack
    instructions: int
    cycles_est: int
    latency_ms_est: float
    cycle_model: str
    per_op: tuple[OpCost, ...]
    cycles_device: int | None  # measured, on a real board only
    clock_hz: int

    @property
    def latency_ms_device(self) -> float | None:
        """Measured on a real board, at the clock that the board's description names."""
        return None if self.cycles_device is None else round(1000 * self.cycles_device / self.clock_hz, 3)

    @property
    def warning(self) -> str | None:
        """What to say of an accuracy that is near the one of a constant answer."""
        if self.accuracy_device is None or self.accuracy_constant is None:
            return None
        return constant_warning(self.accuracy_device, self.accuracy_constant, self.images)

    def metrics(self) -> dict[str, object]:
        """The figures under the names that the pipeline's metrics use."""
        values: dict[str, object] = {
            "accuracy_device": self.accuracy_device,
            "accuracy_constant": self.accuracy_constant,
            "bit_exact_outputs": self.bit_exact_outputs,
            "sram_peak_bytes": self.sizes.sram,
            "static_bytes": self.sizes.static,
            "stack_bytes": self.stack_bytes,
            "flash_bytes": self.sizes.flash,
            "instructions": self.instructions,
            "cycles_est": self.cycles_est,
            "latency_ms_est": round(self.latency_ms_est, 3),
            "cycle_model": self.cycle_model,
            "cycles_device": self.cycles_device,
            "latency_ms_device": self.latency_ms_device,
            "images": self.images,
            "emulator": self.emulator,
            "checked_by": self.checked_by,
            "confusion_device": self.confusion_device,
        }
        return {name: value for name, value in values.items() if value is not None}


def run(
    case: Case,
    images: NDArray[np.int8],
    labels: NDArray[np.int64] | None = None,
    *,
    emulator: str = "auto",
    traced_images: int = 2,
    workers: int | None = None,
) -> Result:
    """Benchmark `case` on int8 images [N, H, W, C].

    Raises RunError for a fault, hang or mismatch, SizeError for a wrong size, UserError for wrong arguments.
    """
    try:
        return _run(case, images, labels, emulator, traced_images, workers)
    except RunError as error:
        raise error.named(tuple(op.name for op in case.network.ops)) from None


def _run(
    case: Case,
    images: NDArray[np.int8],
    labels: NDArray[np.int64] | None,
    emulator: str,
    traced_images: int,
    workers: int | None,
) -> Result:
    emulators.check_choice(emulator, case.target)
    expected_shape = case.network.tensors[case.network.input].shape
    if len(images) == 0 or images.shape[1:] != expected_shape:
        raise UserError(
            f"the images have shape {images.shape[1:]} ({len(images)} of them), the network of {case.elf} takes "
            f"{expected_shape}: prepare the data again, or name the right images"
        )
    elf = elf_files.load(case.elf)
    sizes = build.check_sizes(elf, case.plan) if case.plan is not None else build.linked_sizes(elf)
    setup = Setup(case.elf, case.target_file, _input_address(elf, case.plan))
    expected = _joined(reference.run_batch(case.network, images), case.network)
    main, checker = emulators.main_and_checker(emulator, case.target, len(images))

    workers = workers or len(os.sched_getaffinity(0))
    count = min(max(traced_images, 1), len(images))
    tracing = _jobs(sessions.traced, (setup,), images[:count], workers)
    trace = _collect(tracing, count, "trace on unicorn", setup)
    _compare(case, setup, images, expected, trace.outputs)
    costs = [i.costs for i in sorted(trace.inferences, key=lambda i: i.index) if i.costs is not None]
    checked = [UNICORN]

    if main == UNICORN:
        jobs = _jobs(sessions.bulk, (setup,), images, workers)
    else:
        jobs = _jobs(sessions.over_link, (setup, main), images, 1 if emulators.is_serial(main) else workers)
    everything = _collect(jobs, len(images), f"benchmark on {main}", setup)
    _compare(case, setup, images, expected, everything.outputs)
    if main not in checked:
        checked.append(main)
        _same_counts(trace, everything, main)

    if checker is not None:
        few = min(CHECKER_IMAGES, len(images))
        jobs = _jobs(sessions.over_link, (setup, checker), images[:few], workers=1)
        repeated = _collect(jobs, few, f"check on {checker}", setup)
        _compare(case, setup, images, expected, repeated.outputs)
        _same_counts(trace, repeated, checker)
        checked.append(checker)

    outputs = np.stack([everything.outputs[i] for i in range(len(images))])
    stack = max(trace.stack, everything.stack)
    if elf.stack is not None and stack >= elf.stack.size:
        raise RunError("stack-overflow", f"all {elf.stack.size} reserved bytes of the stack were written")
    per_op = _per_op(case, costs)
    measured = [i.cycles for i in everything.inferences if i.cycles is not None]
    total_cycles = _mean([sum(c.cycles_est for c in cost.values()) for cost in costs])
    return Result(
        target=case.target.name,
        emulator=main,
        checked_by="+".join(checked),
        images=len(images),
        outputs=outputs,
        bit_exact_outputs=float((outputs == expected).mean()),
        accuracy_device=_accuracy(outputs, labels),
        accuracy_constant=None if labels is None else constant_accuracy(labels),
        confusion_device=None if labels is None else confusion(outputs.argmax(axis=1), labels, outputs.shape[1]),
        sizes=sizes,
        stack_bytes=stack,
        instructions=_mean([sum(c.instructions for c in cost.values()) for cost in costs]),
        cycles_est=total_cycles,
        latency_ms_est=1000 * total_cycles / case.target.clock_hz,
        cycle_model=cycles.version(case.target),
        per_op=per_op,
        cycles_device=_mean(measured) if measured else None,
        clock_hz=case.target.clock_hz,
    )


@dataclass(frozen=True)
class _Collected:
    inferences: list[Inference]
    stack: int

    @property
    def outputs(self) -> dict[int, NDArray[np.int8]]:
        return {inference.index: inference.outputs for inference in self.inferences}


def _jobs(
    session: Callable[..., Iterator[Inference | StackUse]],
    arguments: tuple[object, ...],
    images: NDArray[np.int8],
    workers: int,
) -> list[Job]:
    """`session(*arguments, indices, images)` for every worker's share of the images."""
    parts = min(workers, len(images))
    split = [list(range(start, len(images), parts)) for start in range(parts)]
    return [Job(session, (*arguments, indices, images[indices])) for indices in split]


def _collect(jobs: list[Job], total: int, what: str, setup: Setup) -> _Collected:
    stack = 0

    def inferences() -> Iterator[Inference]:
        nonlocal stack
        for message in stream(jobs, silence_s=2 * setup.limit_s):
            if isinstance(message, StackUse):
                stack = max(stack, message.stack_bytes)
            else:
                yield message

    return _Collected(list(track(inferences(), f"{what}: images", total)), stack)


def _compare(
    case: Case,
    setup: Setup,
    images: NDArray[np.int8],
    expected: NDArray[np.int8],
    outputs: dict[int, NDArray[np.int8]],
) -> None:
    """RunError for the first image whose outputs differ, with the operator where the difference begins."""
    wrong = [i for i in sorted(outputs) if not np.array_equal(outputs[i], expected[i])]
    if not wrong:
        return
    first = wrong[0]
    at = int(np.flatnonzero(outputs[first] != expected[first])[0]) if len(outputs[first]) == len(expected[first]) else 0
    device, wanted = outputs[first][at : at + 1].tolist(), expected[first][at : at + 1].tolist()
    detail = (
        f"{len(wrong)} of {len(outputs)} images differ; image {first}, output value {at}: {device} on the device, "
        f"{wanted} in the reference"
    )
    found = None
    if case.plan is not None:
        found = locate.first_difference(case.network, case.plan, setup, images[first])
    if found is None:
        raise RunError("mismatch", detail)
    raise RunError("mismatch", f"{detail}; {found.describe()}", op=found.op, pc=found.pc, address=found.address)


def _same_counts(trace: _Collected, other: _Collected, name: str) -> None:
    counted = {i.index: i.instructions for i in trace.inferences}
    for inference in other.inferences:
        mine, theirs = counted.get(inference.index), inference.instructions
        if mine is None or theirs is None:
            continue
        if abs(theirs - mine) > AGREEMENT * mine + PER_ROW * (inference.rows_asked + 1):
            raise RunError(
                "mismatch",
                f"image {inference.index} takes {mine:,} instructions on unicorn and {theirs:,} on {name}; "
                f"more than {AGREEMENT:.1%} apart",
            )


def _input_address(elf: elf_files.Elf, plan: Plan | None) -> int | None:
    """Where a resident input image lies, None when the firmware asks for rows."""
    if plan is None or plan.input_mode != "resident":
        return None
    arena = elf.find(*ARENA)
    if arena is None:
        raise UserError(f"{elf.path} has no arena symbol: the bench needs a firmware made by Patchline")
    return arena.address + next(b.offset for b in plan.buffers if b.kind == "input")


def _joined(outputs: dict[str, NDArray[np.int8]], network: Network) -> NDArray[np.int8]:
    return np.concatenate([outputs[name].reshape(len(outputs[name]), -1) for name in network.outputs], axis=1)


def _per_op(case: Case, costs: list[dict[int, Cost]]) -> tuple[OpCost, ...]:
    rows = []
    for index in (*range(len(case.network.ops)), RUNTIME):
        mine = [cost.get(index, Cost(0, 0, 0)) for cost in costs]
        op = case.network.ops[index] if index >= 0 else None
        estimate = _mean([c.cycles_est for c in mine])
        rows.append(
            OpCost(
                op=op.name if op else "runtime",
                kind=type(op).__name__ if op else "runtime",
                block=(op.block or op.name) if op else "runtime",
                instructions=_mean([c.instructions for c in mine]),
                cycles_est=estimate,
                flash_stalls_est=_mean([c.flash_stalls_est for c in mine]),
                latency_ms_est=round(1000 * estimate / case.target.clock_hz, 4),
            )
        )
    return tuple(rows)


def _mean(values: list[int]) -> int:
    return round(sum(values) / len(values))


def _accuracy(outputs: NDArray[np.int8], labels: NDArray[np.int64] | None) -> float | None:
    return None if labels is None else float((outputs.argmax(axis=1) == labels).mean())
