"""What is measured, stored and compared: figures of networks and of single kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernel_shapes
from kernel_measure import BOARDS, Measured, measure
from kernel_networks import NETWORKS, with_tflite_rule
from patchline import targets
from patchline.cores.armv7em import kernels
from patchline.errors import UserError
from patchline.files import read_json, write_text
from patchline.hil import cycles
from patchline.network.ir import GlobalPool
from patchline.progress import track
from patchline.schedule import solve

FILE = Path(__file__).parent / "kernels.json"
MAX_EXTRA_MACS = 0.03
COUNTED = ("instructions", "cycles", "stalls")
TOLERANCE = 0.02  # more instructions than stored


@dataclass(frozen=True)
class Figure:
    """One network under one plan, or one kernel on one shape; `subject` names it, `macs` are 0 where there are none."""

    subject: str
    core: str  # M4 or M7
    rule: str
    macs: int
    values: int  # outputs; of a global pool, inputs
    instructions: int
    cycles: int
    stalls: int  # of the cycles: waiting for flash

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.subject, self.core, self.rule)


@dataclass(frozen=True)
class Case:
    """One network to count: subject, core and rule are those of its `Figure`."""

    network: str
    kind: str  # of the plan: layer or auto
    core: str
    rule: str

    @property
    def subject(self) -> str:
        return f"{self.network}, {self.kind}"


NETWORK_CASES = tuple(
    Case(benchmark.name, kind, core, rule)
    for benchmark in NETWORKS
    for rule in ("single", "tflite")
    for kind in ("layer", "auto")
    for core in BOARDS
)
QUICK_CASES = (Case("vww_96", "layer", "M4", "single"), Case("mcunet-vww1", "auto", "M4", "tflite"))
"""What a test has the time for: every kernel of both networks, both plans and both rules take part once."""


def measure_case(case: Case) -> tuple[Figure, Measured]:
    """Count one network; its outputs are compared with the reference."""
    benchmark = next(b for b in NETWORKS if b.name == case.network)
    network = benchmark.build()
    assert network.macs == benchmark.macs
    if case.rule == "tflite":
        network = with_tflite_rule(network)
    board = BOARDS[case.core]
    plan = solve(network, targets.load(board), kind=case.kind, max_extra_macs=MAX_EXTRA_MACS).plan  # type: ignore[arg-type]
    found = measure(network, plan, board, check=True)
    output = network.tensors[network.outputs[0]].bytes
    figure = Figure(
        case.subject, case.core, case.rule, network.macs, output, found.instructions, found.cycles, found.stalls
    )
    return figure, found


def measure_networks(cases: Sequence[Case] = NETWORK_CASES) -> Iterator[tuple[Figure, Measured]]:
    for case in track(cases, "networks"):
        yield measure_case(case)


def parts(case: Case, found: Measured) -> list[Figure]:
    """What the kernels of a network take together, those of a kind added up (with them the executor)."""
    total: dict[str, list[int]] = {}
    for index, cost in found.costs.items():
        name, macs, values = "executor", 0, 1
        if index >= 0:
            op = found.network.ops[index]
            out = found.network.tensors[op.output]
            name = kernels.choose(found.network, op).name.replace("_", " ")
            macs, values = found.network.macs_per_position(op) * out.height * out.width, out.bytes
        counted = (macs, values, cost.instructions, cost.cycles_est, cost.flash_stalls_est)
        total[name] = [a + b for a, b in zip(total.get(name, [0] * 5), counted, strict=True)]
    return [Figure(f"{case.subject}: {name}", case.core, case.rule, *counted) for name, counted in total.items()]


def measure_shapes() -> Iterator[tuple[list[Figure], Measured]]:
    """Count every network of shapes on both cores: figures of its subjects, and all that was measured."""
    pairs = [(shapes, core) for shapes in kernel_shapes.sets().values() for core in BOARDS]
    for shapes, core in track(pairs, "shapes of kernels"):
        network, target = shapes.build(), targets.load(BOARDS[core])
        found = measure(network, shapes.plan(network, target), target.name)
        yield _shape_figures(found, core), found


def _shape_figures(found: Measured, core: str) -> list[Figure]:
    network, figures = found.network, {}
    for index, op in kernel_shapes.shapes(network):
        out = network.tensors[op.output]
        macs = network.macs_per_position(op) * out.height * out.width
        cost = found.costs[index]
        values = out.bytes if not isinstance(op, GlobalPool) else network.tensors[op.inputs[0]].bytes
        subject, rule = kernel_shapes.label(network, op), kernels.choose(network, op).rule
        counts = (cost.instructions, cost.cycles_est, cost.flash_stalls_est)
        figure = Figure(subject, core, rule, macs, values, *counts)
        figures[figure.key] = figure
    return list(figures.values())


@dataclass(frozen=True)
class Stored:
    """Content of the file: figures of the commit that wrote it."""

    cycle_models: dict[str, str]
    networks: tuple[Figure, ...]
    parts: tuple[Figure, ...]
    shapes: tuple[Figure, ...]


def load() -> Stored:
    """The stored figures. Raises UserError when there are none."""
    if not FILE.exists():
        raise UserError(f"{FILE.name} is missing: measure and store figures with `make bench-kernels STORE=1`")
    data = read_json(FILE)
    return Stored(data["cycle_models"], *(_expanded(data[name]) for name in ("networks", "parts", "shapes")))


def store(networks: Sequence[Figure], parts: Sequence[Figure], shapes: Sequence[Figure]) -> None:
    """Write the figures, one subject to a line, so that a change can be read in a diff."""

    def lines(figures: Sequence[Figure]) -> str:
        return ",\n".join("    " + json.dumps(row) for row in _rows(figures))

    models = json.dumps({core: cycles.version(targets.load(board)) for core, board in BOARDS.items()})
    fields = ["subject", "rule", "macs", "values", *(f"{what} {core}" for core in BOARDS for what in COUNTED)]
    write_text(
        FILE,
        f'{{\n  "cycle_models": {models},\n  "fields": {json.dumps(fields)},\n'
        f'  "networks": [\n{lines(networks)}\n  ],\n  "parts": [\n{lines(parts)}\n  ],\n'
        f'  "shapes": [\n{lines(shapes)}\n  ]\n}}\n',
    )


def _rows(figures: Sequence[Figure]) -> list[list[str | int]]:
    rows: dict[tuple[str, str], list[str | int]] = {}
    for core in BOARDS:
        for f in figures:
            if f.core == core:
                row = rows.setdefault((f.subject, f.rule), [f.subject, f.rule, f.macs, f.values])
                row += [getattr(f, what) for what in COUNTED]
    return list(rows.values())


def _expanded(rows: Sequence[Sequence[Any]]) -> tuple[Figure, ...]:
    return tuple(
        Figure(subject, core, rule, macs, values, *counts[i * len(COUNTED) : (i + 1) * len(COUNTED)])
        for subject, rule, macs, values, *counts in rows
        for i, core in enumerate(BOARDS)
    )


def slower(measured: Sequence[Figure], stored: Sequence[Figure]) -> list[str]:
    """One line for every figure that takes over `TOLERANCE` more instructions than stored, or is not stored."""
    known = {figure.key: figure for figure in stored}
    found = []
    for figure in measured:
        before = known.get(figure.key)
        name = f"{figure.subject} on the {figure.core}, rule {figure.rule}"
        if before is None:
            found.append(f"{name}: no stored figure")
        elif figure.instructions > (1 + TOLERANCE) * before.instructions:
            change = figure.instructions / before.instructions - 1
            found.append(
                f"{name}: {figure.instructions:,} instructions, {before.instructions:,} stored ({change:+.1%})"
            )
    return found
