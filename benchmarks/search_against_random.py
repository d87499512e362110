"""What the search is worth: its winner against that of uniform draws, at the same cost.

    python benchmarks/search_against_random.py [--seeds 8] [--trials 25 50 100] [--target stm32f412] [--out docs]

Reads models/supernet.pt, data/prepared (`dvc repro train_supernet`) and params.yaml. Both sides are
`patchline.search.search` and differ in what proposes networks. A trial is a network whose accuracy is measured; draws
that break a limit are sorted out by the schedule solver and cost none, on both sides. Replaces the section on the
search in ablation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from patchline import data, files, targets
from patchline.config import Params, load_params
from patchline.errors import run_main
from patchline.search import Limits, search
from patchline.search.draw import Draw, at_random, evolved
from patchline.search.judge import Judge
from patchline.search.study import FINAL_RECALIBRATION_IMAGES
from patchline.supernet import Supernet, load_supernet
from patchline.targets import Target
from patchline.tracking.svg import kb

SUPERNET = "models/supernet.pt"
SECTION = "## The search against random draws"


@dataclass(frozen=True)
class Won:
    """The winner of one search; accuracies of the supernet's weights."""

    side: str
    trials: int
    seed: int
    accuracy_val: float  # what the search aims at
    accuracy_test: float  # images that no search has seen
    sram_peak_bytes: int
    macs: int
    architecture: str


@dataclass(frozen=True)
class Bench:
    """What all searches share."""

    params: Params
    target: Target
    supernet: Supernet
    judge: Judge
    test: Judge
    image_size: int

    def won(self, side: str, draw: Draw, trials: int, seed: int) -> Won:
        params = self.params.search.model_copy(update={"trials": trials, "storage": None})
        limits = Limits.of(params, self.target)
        space, classes = self.supernet.space, self.supernet.classes
        winner = search(space, classes, self.judge, self.target, params, limits, seed, self.image_size, draw).winner
        test = self.test.accuracy(winner.arch, FINAL_RECALIBRATION_IMAGES, 10**9)
        self.test.save()
        cost = winner.cost
        return Won(
            side, trials, seed, winner.accuracy or 0.0, test, cost.sram_peak_bytes, cost.executed_macs,
            winner.arch.label,
        )  # fmt: skip


def section(params: Params, target: Target, won: Sequence[Won]) -> str:
    """The figures in Markdown: mean and spread over the seeds, a row per number of trials."""
    search_ = params.search
    limits = [f"{kb(search_.sram_budget or target.sram.size)} of SRAM"]
    limits += [f"{search_.max_macs / 1e6:g}M MACs"] if search_.max_macs else []
    sides, seeds = list(dict.fromkeys(w.side for w in won)), sorted({w.seed for w in won})
    lines = [
        SECTION,
        "",
        f"Accuracy of the winner with the supernet's weights on {target.name}, limits: {', '.join(limits)};",
        f"mean and standard deviation over {len(seeds)} seeds. A trial is a network whose accuracy was measured; draws",
        "that break a limit cost none, on both sides. `validation` is what a search aims at, `test` are images that it",
        "has not seen. Same supernet, same code, other proposals: `make ablation-search`.",
        "",
        "| trials | " + " | ".join(f"{side}, {split}" for side in sides for split in ("validation", "test")) + " |",
        "|---" * (1 + 2 * len(sides)) + "|",
    ]
    for trials in sorted({w.trials for w in won}):
        cells = []
        for side in sides:
            row = [w for w in won if (w.side, w.trials) == (side, trials)]
            cells += [_spread([w.accuracy_val for w in row]), _spread([w.accuracy_test for w in row])]
        lines.append(f"| {trials} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def with_section(page: str, text: str) -> str:
    """`page` with `text` in place of its section on the search, or at its end."""
    before, _, after = page.partition(SECTION)
    rest = after.partition("\n## ")[2]
    return before.rstrip("\n") + "\n\n" + text + (f"\n## {rest}" if rest else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--trials", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--target", default="stm32f412")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()

    params, manifest, supernet = load_params(), data.load_manifest(), load_supernet(SUPERNET)
    train = data.load_split("train")

    def judge(split: str) -> Judge:
        identity = [files.hash_file(SUPERNET), manifest.hashes["train"], manifest.hashes[split]]
        return Judge(supernet, train, data.load_split(split), identity)

    bench = Bench(params, targets.load(args.target), supernet, judge("val"), judge("test"), manifest.input.height)
    sides: Mapping[str, Draw] = {"search": evolved(params.search.population), "random": at_random}
    won: list[Won] = []
    for seed in range(1, args.seeds + 1):
        for side, draw in sides.items():
            won += [bench.won(side, draw, trials, seed) for trials in sorted(args.trials, reverse=True)]
            rows: list[dict[str, Any]] = [vars(w) for w in won]
            files.write_csv(args.out / "ablation-search.csv", rows)
            print(won[-len(args.trials)], flush=True)
    page = args.out / "ablation.md"
    text = section(params, bench.target, won)
    files.write_text(page, with_section(page.read_text(encoding="utf-8") if page.exists() else "", text))
    print(text)


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1%}" + (f" ± {100 * stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    run_main(main)
