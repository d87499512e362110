"""What a schedule is worth: the best accuracy per SRAM budget with layer, patch and auto schedules.

    python benchmarks/ablation.py [--budgets 8KB 11KB 24KB] [--target stm32f412] [--epochs 0] [--out docs]

Reads models/supernet.pt and data/prepared (`dvc repro train_supernet`). One supernet and one seed for all cells; each
cell is a search of its own under that budget. Accuracy is that of the supernet's weights on the validation split, or
with --epochs that of the fine-tuned winner on the test split. Patches may compute twice whatever saves memory (no cap
on redundant MACs); the table says how much that is. Writes ablation.csv, ablation.md and ablation.svg.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from patchline import data, files, targets
from patchline.config import Params, load_params, parse_bytes
from patchline.errors import UserError, run_main
from patchline.search import Limits, search
from patchline.search.finetune import fine_tune
from patchline.search.judge import Judge
from patchline.supernet import Supernet, load_supernet
from patchline.supernet.evaluate import accuracy
from patchline.targets import Target
from patchline.tracking.svg import KINDS, MUTED, Chart, Label, Line, Rect, Scale, kb, render
from patchline.tracking.svg import Path as Curve

SUPERNET = "models/supernet.pt"
SCHEDULES = ("layer", "patch", "auto")
COLOURS = {"layer": KINDS["layer"], "patch": KINDS["patch"], "auto": KINDS["stream"]}


@dataclass(frozen=True)
class Cell:
    """The best network of one schedule under one budget; accuracy None where nothing fits."""

    schedule: str
    budget_bytes: int
    accuracy: float | None
    sram_peak_bytes: int | None = None
    executed_macs: int | None = None
    extra_macs_ratio: float | None = None  # of these, computed twice, as a share of the network's
    architecture: str = ""


@dataclass(frozen=True)
class Bench:
    """What all cells share."""

    params: Params
    target: Target
    supernet: Supernet
    train: data.Split
    test: data.Split
    judge: Judge
    epochs: int
    image_size: int

    def cell(self, schedule: str, budget: int) -> Cell:
        settings = {"schedule": schedule, "sram_budget": budget, "storage": None}
        if schedule == "patch":
            settings["max_extra_macs"] = 1.0
        params = self.params.search.model_copy(update=settings)
        limits = Limits.of(params, self.target)
        try:
            result = search(
                self.supernet.space, self.supernet.classes, self.judge, self.target, params, limits, self.params.seed,
                self.image_size,
            )  # fmt: skip
        except UserError:
            return Cell(schedule, budget, None)
        winner = result.winner
        score = winner.accuracy
        if self.epochs:
            net = fine_tune(self.supernet, winner.arch, self.train, self.epochs, self.params.seed)
            score = accuracy(net, self.test.images, self.test.labels)
        cost = winner.cost
        return Cell(
            schedule, budget, score, cost.sram_peak_bytes, cost.executed_macs, cost.extra_macs_ratio, winner.arch.label
        )  # fmt: skip


def table(cells: list[Cell], epochs: int) -> str:
    """The accuracies as a Markdown table, a row per budget."""
    kind = f"test split, winners fine-tuned for {epochs} epochs" if epochs else "validation split, supernet's weights"
    lines = [
        f"Accuracy ({kind}) of the best network per SRAM budget (`sram_peak_bytes`), by kind of schedule.",
        "MACs are those executed; behind them the share that is computed twice, which `search.max_extra_macs` caps for",
        "`auto` and nothing for patches. Written by `make ablation`.",
        "",
        "| SRAM budget | " + " | ".join(SCHEDULES) + " |",
        "|---" * (1 + len(SCHEDULES)) + "|",
    ]
    for budget in sorted({cell.budget_bytes for cell in cells}):
        row = {cell.schedule: cell for cell in cells if cell.budget_bytes == budget}
        lines.append(f"| {kb(budget)} | " + " | ".join(_entry(row[schedule]) for schedule in SCHEDULES) + " |")
    return "\n".join([*lines, "", "![accuracy over SRAM budget](ablation.svg)", ""])


def picture(cells: list[Cell]) -> Chart:
    """Accuracy over budget, a line per kind of schedule."""
    found = [cell for cell in cells if cell.accuracy is not None]
    chart = Chart(640, 300, "Best accuracy per SRAM budget for layer, patch and auto schedules")
    budgets = sorted({cell.budget_bytes for cell in cells})
    scores = [cell.accuracy or 0.0 for cell in found]
    x = Scale(0, budgets[-1] * 1.05, 60, 620)
    y = Scale(min(scores) - 0.01, max(scores) + 0.01, 250, 30)
    for tick in y.ticks(5):
        chart.add(Line(60, y(tick), 620, y(tick)), Label(54, y(tick) + 4, f"{tick:.1%}", "end"))
    for budget in budgets:
        chart.add(Label(x(budget), 268, kb(budget), "middle"))
    chart.add(Label(620, 288, "SRAM budget", "end"), Label(4, 16, "accuracy"))
    for position, schedule in enumerate(SCHEDULES):
        points = [(x(c.budget_bytes), y(c.accuracy or 0)) for c in found if c.schedule == schedule]
        if points:
            chart.add(Curve("M" + "L".join(f"{a} {b}" for a, b in points), stroke=COLOURS[schedule]))
        for a, b in points:
            chart.add(Rect(a - 4, b - 4, 8, 8, COLOURS[schedule], schedule, "#ffffff"))
        chart.add(
            Rect(420 + 70 * position, 8, 10, 10, COLOURS[schedule]),
            Label(434 + 70 * position, 17, schedule, fill=MUTED),
        )
    return chart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", nargs="+", type=parse_bytes, default=[8 * 1024, 11 * 1024, 24 * 1024])
    parser.add_argument("--target", default="stm32f412")
    parser.add_argument("--epochs", type=int, default=0, help="fine-tuning per winner; about a minute each")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()

    manifest = data.load_manifest()
    supernet = load_supernet(SUPERNET)
    train, val = data.load_split("train"), data.load_split("val")
    identity = [files.hash_file(SUPERNET), manifest.hashes["train"], manifest.hashes["val"]]
    judge = Judge(supernet, train, val, identity)
    bench = Bench(
        load_params(), targets.load(args.target), supernet, train, data.load_split("test"), judge, args.epochs,
        manifest.input.height,
    )  # fmt: skip
    cells = [bench.cell(schedule, budget) for budget in args.budgets for schedule in SCHEDULES]
    files.write_csv(args.out / "ablation.csv", [vars(cell) for cell in cells])
    page = args.out / "ablation.md"
    files.write_text(
        page, with_table(page.read_text(encoding="utf-8") if page.exists() else "", table(cells, args.epochs))
    )
    files.write_text(args.out / "ablation.svg", render(picture(cells), standalone=True))
    print(table(cells, args.epochs))


def with_table(page: str, text: str) -> str:
    """`page` with `text` in place of all before its first section, which others write."""
    _, heading, sections = page.partition("\n## ")
    return text + heading + sections


def _entry(cell: Cell) -> str:
    if cell.accuracy is None or cell.sram_peak_bytes is None or cell.executed_macs is None:
        return "nothing fits"
    again = f", +{cell.extra_macs_ratio:.1%}" if cell.extra_macs_ratio else ""
    return f"{cell.accuracy:.1%} ({kb(cell.sram_peak_bytes)}, {cell.executed_macs / 1e6:.1f}M MACs{again})"


if __name__ == "__main__":
    run_main(main)
