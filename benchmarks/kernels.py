"""What the kernels cost: instructions, estimated cycles and cycles per MAC, of networks and of single shapes.

    python benchmarks/kernels.py                     measure all on the M4 and the M7, beside the stored figures
    python benchmarks/kernels.py --only networks     (or shapes)
    python benchmarks/kernels.py --check             two networks; exit code 1 when one takes over 2 % more instructions
    python benchmarks/kernels.py --check all         the same for everything that is stored
    python benchmarks/kernels.py --store             measure all and keep it: kernels.json, the figures from which the
                                                     search predicts latency, and the tables in docs/performance.md
    python benchmarks/kernels.py --markdown          write the tables in docs/performance.md from the stored figures

Instructions are counted in the emulator and repeat exactly; cycles are estimates (docs/benchmarking.md).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

import kernel_figures
import kernel_fit
import kernel_report
from kernel_figures import NETWORK_CASES, QUICK_CASES, Figure
from kernel_measure import Measured
from patchline.errors import UserError, run_main


def networks(cases: Sequence[kernel_figures.Case]) -> tuple[list[Figure], list[Measured]]:
    pairs = list(kernel_figures.measure_networks(cases))
    return [figure for figure, _ in pairs], [found for _, found in pairs]


def shapes() -> tuple[list[Figure], list[Measured]]:
    pairs = list(kernel_figures.measure_shapes())
    return [figure for figures, _ in pairs for figure in figures], [found for _, found in pairs]


def check(measured: Sequence[Figure], stored: Sequence[Figure]) -> None:
    """Raises UserError (exit code 1) when something takes more instructions than stored."""
    if found := kernel_figures.slower(measured, stored):
        raise UserError(
            f"more than {kernel_figures.TOLERANCE:.0%} more instructions than stored in {kernel_figures.FILE.name}:\n  "
            + "\n  ".join(found)
            + "\nMake the kernels as fast as they were or, if this is meant, store the new figures with "
            "`make bench-kernels STORE=1` and commit them",
            exit_code=1,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("networks", "shapes"))
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--check", nargs="?", const="quick", choices=("quick", "all"))
    does.add_argument("--store", action="store_true")
    does.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if args.markdown:
        kernel_report.write_markdown(kernel_figures.load())
        return
    if args.store and args.only:
        raise UserError("--store needs all figures: leave --only out")
    console = Console(width=None if sys.stdout.isatty() else 140)
    quick = args.check == "quick"
    before = None if args.store and not kernel_figures.FILE.exists() else kernel_figures.load()
    of_networks: list[Figure] = []
    of_shapes: list[Figure] = []
    measured: list[Measured] = []
    if args.only != "shapes":
        of_networks, found = networks(QUICK_CASES if quick else NETWORK_CASES)
        measured += found
    if args.only != "networks" and not quick:
        of_shapes, found = shapes()
        measured += found
    if of_networks:
        console.print(kernel_report.table("Networks", of_networks, before.networks if before else ()))
    if of_shapes:
        console.print(kernel_report.table("Kernels", of_shapes, before.shapes if before else ()))
    if args.check and before:
        check([*of_networks, *of_shapes], [*before.networks, *before.shapes])
    if args.store:
        pairs = zip(NETWORK_CASES, measured, strict=False)  # the networks come first
        parts = [part for case, found in pairs if case.kind == "layer" for part in kernel_figures.parts(case, found)]
        kernel_figures.store(of_networks, parts, of_shapes)
        data, quality = kernel_fit.fit(measured)
        kernel_fit.store(data)
        console.print(kernel_report.quality_table(quality))
        kernel_report.write_markdown(kernel_figures.load())


if __name__ == "__main__":
    run_main(main)
