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
    input_mode: Annotated[Input, typer.Option("--input", help="Where input rows come from.")] = Input.pulled,
    kind: Annotated[Kind, typer.Option(help="Schedules to choose from.")] = Kind.auto,
    max_extra_macs: Annotated[float, typer.Option(help="Cap on redundant MACs, 0.03 = 3 %.", min=0.0, max=1.0)] = 0.03,
    sram: Annotated[str | None, typer.Option(help="SRAM budget, e.g. 64KB: then the fewest MACs that fit.")] = None,
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

    board = targets.load_file(target) if target.endswith((".yaml", ".yml")) else targets.load(target)
    budget = _budget(sram)
    _check_output(output)
    network = _load(model, calibrate)
    plan = solve(
        network, board, kind=kind.value, input_mode=input_mode.value, max_extra_macs=max_extra_macs, sram_budget=budget
    ).plan
    if not plan.fits:
        raise UserError(f"{model} does not fit {board.name}: {plan.reason}", exit_code=DOES_NOT_FIT)
    codegen.generate(network, plan, board, output, prefix=prefix)
    serialize.save(network, output / "network.npz")
    result: dict[str, Any] = {
        "model": str(model), "target": board.name, "output": str(output), "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio, "activation_peak_bytes": plan.activation_peak_bytes,
        "layer_peak_bytes": plan.layer_peak_bytes, "sram_peak_bytes": plan.sram_peak_bytes,
        "weights_bytes": plan.flash.weights,
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


def _load(model: Path, calibrate: Path | None) -> Network:
    from patchline.errors import UserError
    from patchline.network.importers import load_network

    if calibrate is None:
        return load_network(model)
    if model.suffix.lower() != ".onnx":
        raise UserError(f"--calibrate quantises float .onnx models; {model} is of another kind")
    from patchline.network.importers.calibrate import quantise_with_folder
    from patchline.network.importers.onnx import from_onnx

    return from_onnx(quantise_with_folder(model, calibrate), model.stem)


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
        ("outputs", outputs),
        (
            "activation peak",
            f"{kib(result['activation_peak_bytes'])}, layer by layer {kib(result['layer_peak_bytes'])}",
        ),
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
    Console().print(table)
