"""`patchline compile`: a model file to a firmware for a board: network, plan, C sources, ELF."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from patchline.cli.plan import DOES_NOT_FIT, Input, Kind

if TYPE_CHECKING:
    from patchline.network.ir import Network


def command(
    model: Annotated[Path, typer.Argument(help="int8 .onnx (QDQ), int8 .tflite, .npz; float .onnx with --calibrate.")],
    target: Annotated[str, typer.Option(help="Name of the board, or the path of a board file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; replaced if compile made it.")],
    calibrate: Annotated[
        Path | None, typer.Option(help="Quantise a float ONNX model with this folder of typical images.")
    ] = None,
    input_mode: Annotated[
        Input, typer.Option("--input", help="Where input rows come from; MLPerf Tiny's runner needs resident.")
    ] = Input.pulled,
    pixels: Annotated[
        str | None,
        typer.Option(help="What pixels 0 and 255 stand for: 0..1, -1..1, 0..255; none: no picture. Default: a guess."),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(help="Size of the pictures that the device is given and changes itself, e.g. 96x96."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name that the firmware says, as vww01 for MLPerf Tiny; default: the file's.")
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Schedules to choose from.")] = Kind.auto,
    max_extra_macs: Annotated[float, typer.Option(help="Cap on redundant MACs, 0.03 = 3 %.", min=0.0, max=1.0)] = 0.03,
    sram: Annotated[str | None, typer.Option(help="SRAM budget, e.g. 64KB: the fewest MACs under the cap.")] = None,
    prefix: Annotated[
        str | None,
        typer.Option(help="Begins the model's names in C, e.g. eyes: eyes.h, eyes_model. Default: the model's name."),
    ] = None,
    sources_only: Annotated[bool, typer.Option(help="Write the C sources, do not build them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Compile a model of your own to a firmware whose outputs equal the model's int8 reference.

    What the model holds that cannot be compiled is listed at once (exit code 2); exit code 3: it does not fit the
    board. Run the result with `patchline bench`.
    """
    from patchline import build, codegen, targets
    from patchline.build import elf
    from patchline.cli.plan import _budget
    from patchline.errors import UserError
    from patchline.network import serialize
    from patchline.schedule import solve

    board = targets.find(target)
    budget = _budget(sram)
    _check_output(output)
    network = _sized(_named(_load(model, calibrate, pixels), name), image_size)
    solution = solve(
        network, board, kind=kind.value, input_mode=input_mode.value, max_extra_macs=max_extra_macs, sram_budget=budget
    )
    plan = solution.plan
    if not plan.fits:
        reason = solution.why_not("--max-extra-macs")
        raise UserError(f"{model} does not fit {board.name}: {reason}", exit_code=DOES_NOT_FIT)
    codegen.generate(network, plan, board, output, prefix=prefix)
    serialize.save(network, output / "network.npz")
    result: dict[str, Any] = {
        "model": str(model), "target": board.name, "output": str(output), "name": network.name,
        "input": network.contract.to_dict(), "input_mode": plan.input_mode, "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio, "activation_peak_bytes": plan.activation_peak_bytes,
        "arena_bytes": plan.arena_bytes, "layer_peak_bytes": plan.layer_peak_bytes,
        "sram_peak_bytes": plan.sram_peak_bytes, "weights_bytes": plan.flash.weights,
    }  # fmt: skip
    if not sources_only:
        linked = elf.load(build.compile_folder(output))
        result |= {"flash_bytes": build.check_sizes(linked, plan).flash}
    if as_json:
        import json

        print(json.dumps(result, indent=1))
    else:
        _show(network, result, sources_only)
        if not sources_only:
            print(f"\nrun it: {shlex.join(['patchline', 'bench', str(output), '--target', target])}")


def _check_output(folder: Path) -> None:
    """Raise UserError for a folder that holds anything that this command did not write: it would be deleted."""
    from patchline.errors import UserError

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file: name a folder")
    ours = all((folder / name).exists() for name in ("Makefile", "plan.json", "generated"))
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise UserError(f"--output {folder} holds other files, which would be deleted: name a new or empty folder")


def _load(model: Path, calibrate: Path | None, pixels: str | None) -> Network:
    """The network in `model`, its input as `pixels` says; without it, as the importer guesses."""
    from patchline.network.contract import parse_pixels
    from patchline.network.resize import with_pixels

    if pixels is None:
        return _imported(model, calibrate, None)
    said = parse_pixels(pixels)
    return with_pixels(_imported(model, calibrate, said), said)


def _named(network: Network, name: str | None) -> Network:
    import re
    from dataclasses import replace

    from patchline.errors import UserError

    if name is None:
        return network
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", name):
        raise UserError(f"--name {name!r} must be up to 40 letters, digits, '.', '_' and '-'")
    return replace(network, name=name)


def _sized(network: Network, image_size: str | None) -> Network:
    import re

    from patchline.errors import UserError
    from patchline.network.resize import taking

    if image_size is None:
        return network
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", image_size)
    if match is None:
        raise UserError(f"--image-size {image_size!r} must be height x width in pixels, as in 96x96")
    return taking(network, int(match[1]), int(match[2]))


def _imported(model: Path, calibrate: Path | None, pixels: tuple[float, float] | None) -> Network:
    from patchline.errors import UserError
    from patchline.network.importers import load_network

    if calibrate is None:
        return load_network(model)
    if model.suffix.lower() != ".onnx":
        raise UserError(f"--calibrate quantises float .onnx models; {model} is of another kind")
    from patchline.network.contract import USUAL
    from patchline.network.importers.calibrate import calibrated

    return calibrated(model, calibrate, pixels or USUAL[0])


def _show(network: Network, result: dict[str, Any], sources_only: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from patchline.cli.plan import kib

    source = network.tensors[network.input]
    outputs = ", ".join(f"{name} {list(network.tensors[name].shape)}" for name in network.outputs)
    real = f"{source.scale:.6g} * (q {-source.zero_point:+d})"
    table = Table(box=None, pad_edge=False, show_header=False)
    rows = [
        ("network", f"{network.name}: {len(network.ops)} operators, {result['macs'] / 1e6:.2f}M MACs"),
        ("input", f"int8 {list(source.shape)} (height, width, channels), real = {real}"),
        ("", network.contract.sentence() + ("" if network.declared else " (a guess: --pixels says otherwise)")),
        ("outputs", outputs),
        (
            "activation peak",
            f"{kib(result['activation_peak_bytes'])}, layer by layer {kib(result['layer_peak_bytes'])}",
        ),
        ("arena", f"{kib(result['arena_bytes'])}: activations, kernel scratch and what the placement loses"),
        ("SRAM in all", kib(result["sram_peak_bytes"])),
        ("redundant MACs", f"{result['extra_macs_ratio']:.2%}"),
        ("weights", kib(result["weights_bytes"])),
    ]
    if sources_only:
        rows.append(("sources", str(Path(result["output"]) / "generated")))
    else:
        rows.append(("flash", kib(result["flash_bytes"])))
        rows.append(("firmware", str(Path(result["output"]) / "firmware.elf")))
    rows.append(("in your program", f"{Path(result['output']) / 'README.md'}, example/main.c beside it"))
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    console.print(table)
    if not sources_only and result["input_mode"] != "resident":
        console.print("\nMLPerf Tiny's runner needs --input resident and --name (docs/serial-protocol.md)")
