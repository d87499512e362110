"""`patchline bench`"""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from patchline.hil.bench import Result


def command(
    firmware: Annotated[Path, typer.Argument(help="An ELF, or a folder with firmware.elf in it.")],
    target: Annotated[
        str | None, typer.Option(help="Name of the board, or the path of a board file; default: what plan.json says.")
    ] = None,
    emulator: Annotated[
        str, typer.Option(help="auto, serial:/dev/ttyX, or an emulator that `patchline doctor` lists.")
    ] = "auto",
    network: Annotated[
        Path | None, typer.Option(help="The network (.npz); default: beside the ELF, models/<target>/.")
    ] = None,
    plan: Annotated[Path | None, typer.Option(help="The plan (.json); default: as for the network.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Prepared images (.npz with `images`, and `labels` if known).")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Use only so many, classes in their proportion.", min=1)] = None,
    traced: Annotated[int, typer.Option(help="Images whose instructions are counted.", min=1)] = 2,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Run a firmware on an emulator or a real board, hold every output against the reference, and measure.

    Without --images it takes data/prepared/test.npz, and random images where that is missing too. Exit code 1 when the
    firmware faults, hangs, differs from the reference or does not have the planned size. In a folder that `patchline
    compile` wrote the figures are kept as benchmark.json, for `patchline track`.
    """
    import json
    from dataclasses import asdict

    from patchline.build import SizeError
    from patchline.files import hash_file
    from patchline.hil import bench, cases
    from patchline.hil.outcome import RunError

    case = cases.load_case(firmware, target, network=network, plan=plan)
    pixels, labels, source = cases.load_images(images, case.network, count)
    # The pipeline's build/<target> has no network.npz, and nothing may be added to it: it is an output of DVC.
    keep = firmware.is_dir() and not (network or plan) and (firmware / "network.npz").is_file()
    digest = hash_file(case.elf)
    try:
        result = bench.run(case, pixels, labels, emulator=emulator, traced_images=traced, workers=workers)
    except (RunError, SizeError):
        if keep:
            _drop(firmware / "benchmark.json")
        raise
    content = {
        "target": result.target,
        "firmware_sha256": digest,
        **result.metrics(),
        "images_from": source,
        "per_op": [asdict(row) for row in result.per_op],
    }
    kept = keep and _keep(firmware / "benchmark.json", content)
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        _show(result, source)
        if kept:
            print(f"\nlog it: {shlex.join(['patchline', 'track', str(firmware)])}")


def _keep(path: Path, content: dict[str, Any]) -> bool:
    """Whether `content` could be written: a folder that is not writable is worth a note, not an error."""
    import sys

    from patchline.files import write_json

    try:
        write_json(path, content)
    except OSError as error:
        print(f"note: {path} is not written: {error.strerror}", file=sys.stderr)
        return False
    return True


def _drop(path: Path) -> None:
    """Remove the figures of an earlier run: they say that all is well."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _show(result: Result, source: str) -> None:
    from rich.console import Console
    from rich.table import Table

    figures = Table(box=None, pad_edge=False, show_header=False)
    sizes = result.sizes
    rows = [
        ("target", f"{result.target}, {result.images} images from {source} on {result.emulator}"),
        ("checked by", result.checked_by),
        ("equal to the reference", f"{result.bit_exact_outputs:.0%} of the outputs"),
        ("SRAM", f"{sizes.sram:,} bytes = arena {sizes.arena:,} + static {sizes.static:,} + stack {sizes.stack:,}"),
        ("stack used", f"{result.stack_bytes:,} bytes"),
        ("flash", f"{sizes.flash:,} bytes"),
        ("instructions", f"{result.instructions:,} an inference"),
        (
            "latency, estimate",
            f"{result.latency_ms_est:.2f} ms ({result.cycles_est:,} cycles, model {result.cycle_model})",
        ),
    ]
    if result.cycles_device is not None:
        rows.append(("latency, measured", f"{result.latency_ms_device:.2f} ms ({result.cycles_device:,} cycles)"))
    if result.accuracy_device is not None:
        accuracy = f"{result.accuracy_device:.4f} (one and the same answer: {result.accuracy_constant:.4f})"
        rows.insert(2, ("accuracy on the device", accuracy))
    for name, value in rows:
        figures.add_row(name, value)
    console = Console()
    console.print(figures)
    if result.warning:
        console.print(f"warning: {result.warning}", style="bold", soft_wrap=True)
    console.print()
    table = Table(box=None, pad_edge=False)
    for title in ("op", "kind", "instructions", "cycles, est.", "ms, est.", "share"):
        table.add_column(title, justify="left" if title in ("op", "kind") else "right")
    for row in result.per_op:
        share = row.cycles_est / result.cycles_est if result.cycles_est else 0
        table.add_row(
            row.op,
            row.kind,
            f"{row.instructions:,}",
            f"{row.cycles_est:,}",
            f"{row.latency_ms_est:.3f}",
            f"{share:.1%}",
        )
    console.print(table)
