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
from patchline.errors import UserError
from patchline.files import read_json, write_text
from patchline.hil import cycles
from patchline.network.ir import GlobalPool, Network
from patchline.progress import track
from patchline.schedule import Plan, latency, solve
from patchline.targets import Target

FILE = Path(__file__).parent / "kernels.json"
MAX_EXTRA_MACS = 0.03
COUNTED = ("instructions", "cycles")
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
    figure = Figure(case.subject, case.core, case.rule, network.macs, output, found.instructions, found.cycles)
    return figure, found


def measure_networks(cases: Sequence[Case] = NETWORK_CASES) -> Iterator[tuple[Figure, Measured]]:
    for case in track(cases, "networks"):
        yield measure_case(case)


def measure_shapes() -> Iterator[tuple[list[Figure], Measured]]:
    """Count every network of shapes on both cores: figures of its subjects, and all that was measured."""
    sets = list(kernel_shapes.sets().values())
    for build, core in track([(build, core) for build in sets for core in BOARDS], "shapes of kernels"):
        network = build()
        target = targets.load(BOARDS[core])
        found = measure(network, _layer_plan(network, target), target.name)
        yield _shape_figures(found, core), found


def _layer_plan(network: Network, target: Target) -> Plan:
    return solve(network, target, kind="layer").plan


def _shape_figures(found: Measured, core: str) -> list[Figure]:
    network, figures = found.network, {}
    for index, op in kernel_shapes.shapes(network):
        out = network.tensors[op.output]
        macs = network.macs_per_position(op) * out.height * out.width
        cost = found.costs[index]
        values = out.bytes if not isinstance(op, GlobalPool) else network.tensors[op.inputs[0]].bytes
        subject, rule = kernel_shapes.label(network, op), latency.kernel_of(network, op).rule
        figure = Figure(subject, core, rule, macs, values, cost.instructions, cost.cycles_est)
        figures[figure.key] = figure
    return list(figures.values())


@dataclass(frozen=True)
class Stored:
    """Content of the file: figures of the commit that wrote it."""

    cycle_models: dict[str, str]
    networks: tuple[Figure, ...]
    shapes: tuple[Figure, ...]


def load() -> Stored:
    """The stored figures. Raises UserError when there are none."""
    if not FILE.exists():
        raise UserError(f"{FILE.name} is missing: measure and store figures with `make bench-kernels STORE=1`")
    data = read_json(FILE)
    return Stored(data["cycle_models"], _expanded(data["networks"]), _expanded(data["shapes"]))


def store(networks: Sequence[Figure], shapes: Sequence[Figure]) -> None:
    """Write the figures, one subject to a line, so that a change can be read in a diff."""

    def lines(figures: Sequence[Figure]) -> str:
        return ",\n".join("    " + json.dumps(row) for row in _rows(figures))

    models = json.dumps({core: cycles.version(targets.load(board)) for core, board in BOARDS.items()})
    fields = ["subject", "rule", "macs", "values", *(f"{what} {core}" for core in BOARDS for what in COUNTED)]
    write_text(
        FILE,
        f'{{\n  "cycle_models": {models},\n  "fields": {json.dumps(fields)},\n'
        f'  "networks": [\n{lines(networks)}\n  ],\n  "shapes": [\n{lines(shapes)}\n  ]\n}}\n',
    )


def _rows(figures: Sequence[Figure]) -> list[list[str | int]]:
    rows: dict[tuple[str, str], list[str | int]] = {}
    for core in BOARDS:
        for f in figures:
            if f.core == core:
                row = rows.setdefault((f.subject, f.rule), [f.subject, f.rule, f.macs, f.values])
                row += [f.instructions, f.cycles]
    return list(rows.values())


def _expanded(rows: Sequence[Sequence[Any]]) -> tuple[Figure, ...]:
    return tuple(
        Figure(subject, core, rule, macs, values, counts[2 * i], counts[2 * i + 1])
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
