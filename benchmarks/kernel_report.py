"""Tables of figures: for the terminal, and as Markdown between the markers in docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from kernel_figures import Figure, Stored
from kernel_fit import Quality
from patchline.errors import UserError
from patchline.files import write_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
UNITS = "per MAC, or per value where there are no MACs"


def per_unit(figure: Figure, what: int) -> float:
    return what / (figure.macs or figure.values)


def table(title: str, figures: Sequence[Figure], stored: Sequence[Figure]) -> Table:
    """One row per subject and core; the last column is the change in instructions against the stored figure."""
    view = Table(title=f"{title}: {UNITS}", title_justify="left")
    for name in ("", "core", "rule"):
        view.add_column(name)
    for name in ("instructions", "cycles (est.)", "instr. per", "cycles per", "change"):
        view.add_column(name, justify="right", no_wrap=True)
    known = {figure.key: figure for figure in stored}
    for figure in figures:
        before = known.get(figure.key)
        change = "new" if before is None else f"{figure.instructions / before.instructions - 1:+.1%}"
        view.add_row(
            figure.subject, figure.core, figure.rule, f"{figure.instructions:,}", f"{figure.cycles:,}",
            f"{per_unit(figure, figure.instructions):.2f}", f"{per_unit(figure, figure.cycles):.2f}",
            "" if change == "+0.0%" else change,
        )  # fmt: skip
    return view


def quality_table(quality: Sequence[Quality]) -> Table:
    """How well the fitted figures explain the measured cycles."""
    view = Table(
        title="Figures for the prediction of latency: relative errors of single operators", title_justify="left"
    )
    for name in ("core", "kernel", "rule"):
        view.add_column(name)
    for name in ("operators", "mean", "worst"):
        view.add_column(name, justify="right")
    for q in quality:
        view.add_row(q.core, q.kernel, q.rule, str(q.equations), f"{q.mean_error:.1%}", f"{q.worst_error:.1%}")
    return view


def write_markdown(stored: Stored) -> None:
    """Bring the tables in docs/performance.md up to date. Raises UserError when a marker is missing."""
    write_text(DOCUMENT, markdown(stored))


def markdown(stored: Stored) -> str:
    """docs/performance.md with its tables replaced by the stored figures."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, lines in (("networks", _networks(stored)), ("parts", _parts(stored)), ("kernels", _kernels(stored))):
        pattern = rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)"
        text, count = re.subn(pattern, lambda m, new=lines: m[1] + "\n".join(new) + "\n" + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise UserError(f"{DOCUMENT}: the markers of '{name}' are missing or doubled")
    return text


def _networks(stored: Stored) -> list[str]:
    found = {figure.key: figure for figure in stored.networks}
    models = ", ".join(stored.cycle_models.values())
    lines = [
        f"| cycle models {models} | rule | M4 cycles/MAC | M7 cycles/MAC | without flash waits, M4 / M7 "
        "| M4 instructions/MAC | M7 instructions/MAC | M4 cycles | M7 cycles | against the layer plan |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for subject, rule in dict.fromkeys((f.subject, f.rule) for f in stored.networks):
        m4, m7 = found[subject, "M4", rule], found[subject, "M7", rule]
        layer = [found[f"{subject.split(',')[0]}, layer", core, rule].cycles for core in ("M4", "M7")]
        ratios = "" if "layer" in subject else f"x {m4.cycles / layer[0]:.2f}, x {m7.cycles / layer[1]:.2f}"
        lines.append(
            f"| {subject} plan | {rule} | **{per_unit(m4, m4.cycles):.2f}** | **{per_unit(m7, m7.cycles):.2f}** "
            f"| {per_unit(m4, m4.cycles - m4.stalls):.2f} / {per_unit(m7, m7.cycles - m7.stalls):.2f} "
            f"| {per_unit(m4, m4.instructions):.2f} | {per_unit(m7, m7.instructions):.2f} "
            f"| {m4.cycles / 1e6:.2f}M | {m7.cycles / 1e6:.2f}M | {ratios} |"
        )
    return lines


def _parts(stored: Stored) -> list[str]:
    """Where the MACs and the cycles of the layer plans are, rule `single`."""
    found = {figure.key: figure for figure in stored.parts}
    totals = {figure.key: figure for figure in stored.networks}
    lines = [
        "| network, kernels | MACs | M4 cycles | M7 cycles | M4 cycles/MAC | M7 cycles/MAC |",
        "|---|---|---|---|---|---|",
    ]
    for subject in dict.fromkeys(f.subject for f in stored.parts if f.rule == "single"):
        m4, m7 = found[subject, "M4", "single"], found[subject, "M7", "single"]
        network = subject.split(":")[0]
        whole = [totals[network, core, "single"] for core in ("M4", "M7")]
        each = [f"{per_unit(f, f.cycles):.2f}" if f.macs else "" for f in (m4, m7)]
        lines.append(
            f"| {subject} | {m4.macs / whole[0].macs:.1%} | {m4.cycles / whole[0].cycles:.1%} "
            f"| {m7.cycles / whole[1].cycles:.1%} | {each[0]} | {each[1]} |"
        )
    return lines


BOUNDS = {
    "pointwise": (17 / 16, 9 / 16),
    "window 3x3 s2 3->": (17 / 16 * 28 / 27, 9 / 16 * 28 / 27),
    "depthwise 3s1": (19 / 9, 10 / 9),
    "depthwise 3s2": (25.5 / 9, 13 / 9),
    "depthwise 5": (3 * 51 / 125, None),
    "depthwise 7": (4 * 69 / 245, None),
    "dense": (13 / 8, 3 / 4),
    "add": (66 / 8, None),
}
"""Cycles per MAC (add: per value) of the inner loops on M4 and M7, rule `single`, as the heads of
firmware_template/src/kernels/*.S count them."""

SHOWN = (
    r"pointwise (8->16|24->144|64->24|144->40|256->16), width (5|12|48)",
    r"window 3x3 s2 3->(8|16), width (40|48)",
    r"depthwise .* C 24, (5x5|8x40|3x3|4x20)",
    r"dense (64->2|10->256), .*",
    r"(add|mul|lookup|global pool) C 48, 6x10",
    r"(average|max) pool .* C 48, (3x5|6x10)",
)
"""Shapes that the document shows; the file has more, `make bench-kernels` prints them."""


def _kernels(stored: Stored) -> list[str]:
    found = {figure.key: figure for figure in stored.shapes}
    subjects = [s for s in dict.fromkeys(f.subject for f in stored.shapes) if any(re.fullmatch(p, s) for p in SHOWN)]
    lines = [
        "| kernel and shape | bound M4 | M4 cycles, single | tflite | bound M7 | M7 cycles, single | tflite "
        "| M4 instructions, single | tflite |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for subject in sorted(subjects, key=_natural):
        bounds = next((both for name, both in BOUNDS.items() if subject.startswith(name)), (None, None))
        cells = []
        for core, what in (("M4", "cycles"), ("M7", "cycles"), ("M4", "instructions")):
            if what == "cycles":
                bound = bounds[core == "M7"]
                cells.append("" if bound is None else f"{bound:.2f}")
            for rules in (("single",), ("tflite", "division", "slow")):
                figure = next((found[subject, core, rule] for rule in rules if (subject, core, rule) in found), None)
                cells.append("" if figure is None else f"{per_unit(figure, getattr(figure, what)):.2f}")
        lines.append(f"| {subject} | " + " | ".join(cells) + " |")
    return lines


def _natural(text: str) -> list[str | int]:
    """Sorts numbers inside a text by their value."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]
