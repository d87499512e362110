"""`patchline plan`: the memory plan of a network on a board, without training or building anything."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from patchline.network.ir import Network
    from patchline.schedule import FrontPoint, Plan
    from patchline.targets import Target


class Kind(StrEnum):
    """Which schedules may be used."""

    auto = "auto"
    layer = "layer"
    patch = "patch"
    stream = "stream"


class Input(StrEnum):
    """Where the input rows come from."""

    pushed = "pushed"
    pulled = "pulled"
    resident = "resident"


DOES_NOT_FIT = 3


def command(
    network: Annotated[
        str, typer.Argument(help="mobilenet_v2, an MCUNet / OFA .json, or an int8 .onnx / .tflite file.")
    ],
    target: Annotated[str, typer.Option(help="Name of the board, or the path of a board file.")] = "stm32f746",
    width: Annotated[float, typer.Option(help="Width multiplier of a built-in network.", min=0.1, max=4.0)] = 1.0,
    resolution: Annotated[int, typer.Option(help="Input size of a built-in network.", min=32, max=1024)] = 224,
    kind: Annotated[Kind, typer.Option(help="Schedules to choose from.")] = Kind.auto,
    grid: Annotated[str | None, typer.Option(help="Pin a patch plan: 4x4 tiles, with --blocks.")] = None,
    blocks: Annotated[
        int | None, typer.Option(help="Blocks run by patch (the stem is one), with --grid.", min=1)
    ] = None,
    max_extra_macs: Annotated[float, typer.Option(help="Cap on redundant MACs, 0.03 = 3 %.", min=0.0, max=1.0)] = 0.03,
    sram: Annotated[str | None, typer.Option(help="SRAM budget, e.g. 64KB: the fewest MACs under the cap.")] = None,
    input_mode: Annotated[Input, typer.Option("--input", help="Where input rows come from.")] = Input.pulled,
    redistribute: Annotated[bool, typer.Option(help="Plan the receptive-field redistributed variant too.")] = False,
    strict: Annotated[bool, typer.Option(help=f"Exit code {DOES_NOT_FIT} when the plan does not fit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write the memory profile as an SVG file.")] = None,
) -> None:
    """Plan a network's memory on a board: segments, SRAM per block before and after, and the Pareto front."""
    from patchline import targets
    from patchline.files import write_text
    from patchline.network import zoo

    board = targets.find(target)
    pinned = _pinned(grid, blocks, kind)
    budget = _budget(sram)
    net = zoo.resolve(network, width, resolution)
    result = _solve(net, board, kind.value, input_mode.value, max_extra_macs, budget, pinned)
    if redistribute:
        result["redistributed"] = _redistributed(
            net, board, kind.value, input_mode.value, max_extra_macs, budget, pinned
        )
    if as_json:
        import json

        print(json.dumps({k: v for k, v in result.items() if not k.startswith("_")}, indent=1))
    else:
        _show(net, result["_plan"], result["_front"], result)
    if plot:
        from patchline.tracking.charts import memory_per_block
        from patchline.tracking.svg import render

        plan = result["_plan"]
        chart = memory_per_block(board.name, plan, tuple(op.block for op in net.ops), budget)
        write_text(plot, render(chart, standalone=True))
    if strict and not result["fits"]:
        raise typer.Exit(DOES_NOT_FIT)


def _pinned(grid: str | None, blocks: int | None, kind: Kind) -> tuple[int, int] | None:
    from patchline.errors import UserError

    if grid is None and blocks is None:
        return None
    if grid is None or blocks is None or kind not in (Kind.patch, Kind.auto):
        raise UserError("--grid and --blocks pin a patch plan together, e.g. `--kind patch --grid 4x4 --blocks 5`")
    sides = grid.lower().split("x")
    if len(sides) != 2 or sides[0] != sides[1] or not sides[0].isdigit() or not 1 <= int(sides[0]) <= 16:
        raise UserError(f"--grid {grid}: give a square grid such as 4x4, from 1x1 to 16x16")
    return int(sides[0]), blocks


def _budget(text: str | None) -> int | None:
    from patchline.config import parse_bytes
    from patchline.errors import UserError

    value = parse_bytes(text)
    if value is None or (isinstance(value, int) and value > 0):
        return value
    if isinstance(value, str) and value.isdigit() and int(value) > 0:
        return int(value)
    raise UserError(f"--sram {text}: give a number of bytes above 0, or text such as 64KB (1 KB = 1024 bytes)")


def _solve(
    net: Network, board: Target, kind: str, mode: str, cap: float, budget: int | None, pinned: tuple[int, int] | None
) -> dict[str, Any]:
    """Plan and front as plain data; keys with an underscore hold the objects themselves."""
    import time

    from patchline.errors import UserError
    from patchline.schedule import layer_plan, patch_plan, solve

    started = time.perf_counter()
    front: tuple[FrontPoint, ...] = ()
    remedy = ""
    if pinned:
        if mode == "pushed":
            raise UserError("a patch plan reads its input more than once: use --input pulled or resident")
        try:
            plan = patch_plan(net, board, *pinned, mode, budget)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"--grid {pinned[0]}x{pinned[0]} --blocks {pinned[1]}: {error}") from None
    elif kind == "layer":
        plan = layer_plan(net, board, mode, budget)  # type: ignore[arg-type]
    else:
        solution = solve(net, board, kind=kind, input_mode=mode, max_extra_macs=cap, sram_budget=budget)  # type: ignore[arg-type]
        plan, front, remedy = solution.plan, solution.front, solution.remedy("--max-extra-macs")
    data = plan.to_dict()
    data["front"] = [
        {
            "arena_bytes": p.arena_bytes,
            "extra_macs_ratio": round(p.extra_macs_ratio, 6),
            "segments": [f"{o.kind} {o.first}..{o.end - 1} {o.tile_rows}x{o.tile_cols}" for o in p.options],
        }
        for p in front
    ]
    data["remedy"] = remedy
    data["solve_seconds"] = round(time.perf_counter() - started, 4)
    return {**data, "_plan": plan, "_front": front}


def _redistributed(
    net: Network, board: Target, kind: str, mode: str, cap: float, budget: int | None, pinned: tuple[int, int] | None
) -> dict[str, Any]:
    from patchline.schedule.redistribute import redistribute

    variant, patch_blocks = redistribute(net, pinned[1] if pinned else None)
    if pinned:
        pinned = (pinned[0], patch_blocks)
    data = _solve(variant, board, kind, mode, cap, budget, pinned)
    keys = ("network", "macs", "extra_macs_ratio", "activation_peak_bytes", "sram_peak_bytes", "fits", "solve_seconds")
    return {**{key: data[key] for key in keys}, "blocks": _block_summary(variant)}


def _block_summary(net: Network) -> list[str]:
    """One line a block: what a reader compares between a network and its redistributed variant."""
    from patchline.network.ir import Depthwise

    lines: dict[str, list[str]] = {}
    for op in net.ops:
        t = net.tensors[op.output]
        kernel = f"dw{op.rows.kernel}" if isinstance(op, Depthwise) else type(op).__name__.lower()
        lines.setdefault(op.block, []).append(f"{kernel}:{t.height}x{t.width}x{t.channels}")
    return [f"{block}: {' '.join(parts)}" for block, parts in lines.items()]


# --- the terminal ---


def _show(net: Network, plan: Plan, front: tuple[FrontPoint, ...], result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    console.print(f"\n[bold]{net.name}[/bold] on {plan.target}, input {plan.input_mode}: {plan.macs / 1e6:.1f}M MACs\n")
    console.print(_bars(net, plan))
    console.print(_segments(net, plan))
    console.print(_totals(plan, result["solve_seconds"]))
    if len(front) > 1:
        console.print(_front_table(plan, front))
    if other := result.get("redistributed"):
        console.print(
            f"redistributed variant: {other['macs'] / 1e6:.1f}M MACs, {kib(other['activation_peak_bytes'])} peak, "
            f"{other['extra_macs_ratio']:.1%} redundant MACs (this network: {plan.extra_macs_ratio:.1%})"
        )
    if not plan.fits:
        console.print(f"[bold red]does not fit:[/bold red] {plan.reason}")
        if result["remedy"]:
            console.print(f"[bold]what would help:[/bold] {result['remedy']}")


def kib(size: float) -> str:
    return f"{size / 1024:.1f} KiB"


def _bars(net: Network, plan: Plan) -> Any:
    from rich.table import Table

    from patchline.tracking.charts import block_peaks

    table = Table(box=None, pad_edge=False, title="peak activation memory per block", title_justify="left")
    for name, justify in (("block", "left"), ("layer by layer", "right"), ("plan", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    peaks = block_peaks(plan, tuple(op.block for op in net.ops))
    scale = 44 / max(p.before for p in peaks)
    for p in peaks:
        before, after = max(1, round(p.before * scale)), max(1, round(p.after * scale))
        bar = f"[green]{'█' * min(after, before)}[/green]"
        bar += f"[red]{'█' * (after - before)}[/red]" if after > before else f"[dim]{'░' * (before - after)}[/dim]"
        table.add_row(p.block, kib(p.before), kib(p.after), bar)
    return table


def _segments(net: Network, plan: Plan) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="\nsegments", title_justify="left")
    for name in ("kind", "operators", "tiles", "from block", "to block", "rings (rows)"):
        table.add_column(name, overflow="fold")
    for s in plan.segments:
        rings = [str(b.rows) for b in plan.buffers if b.kind == "ring" and s.first_op <= b.first_op < s.end_op]
        first, last = net.ops[s.first_op], net.ops[s.end_op - 1]
        tiles = "-" if s.tile_rows * s.tile_cols == 1 else f"{s.tile_rows}x{s.tile_cols}"
        table.add_row(s.kind, f"{s.first_op}..{s.end_op - 1}", tiles, first.block, last.block, " ".join(rings))
    return table


def _totals(plan: Plan, seconds: float) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False, title="\ntotals", title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    less = plan.layer_peak_bytes / max(plan.activation_peak_bytes, 1)
    table.add_row(
        "activation peak", kib(plan.activation_peak_bytes), f"{less:.1f}x less than {kib(plan.layer_peak_bytes)}"
    )
    lost = plan.arena_bytes - plan.arena_lower_bound_bytes
    placed = "placed at its lower bound" if not lost else f"{lost} B above its lower bound"
    more = plan.arena_bytes - plan.activation_peak_bytes
    table.add_row("arena", kib(plan.arena_bytes), f"{more} B more than the activations, {placed}" if more else placed)
    parts = f"+ static {plan.sram.static} B, stack {plan.sram.stack} B"
    table.add_row("SRAM in all", kib(plan.sram_peak_bytes), parts)
    table.add_row("redundant MACs", f"{plan.extra_macs_ratio:.2%}", f"{plan.extra_macs / 1e6:.2f}M")
    table.add_row("input read", f"{plan.input_passes:.2f} x", f"{plan.input_bytes_read} B")
    table.add_row("flash (estimate)", kib(plan.flash.total), f"weights {kib(plan.flash.weights)}")
    table.add_row("solved in", f"{seconds:.2f} s", "")
    return table


def _front_table(plan: Plan, front: tuple[FrontPoint, ...]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title="\nPareto front", title_justify="left")
    for name in ("arena", "redundant MACs", "segments", ""):
        table.add_column(name, justify="left" if name in ("", "segments") else "right")
    shown = front if len(front) <= 16 else [front[round(i * (len(front) - 1) / 15)] for i in range(16)]
    for p in shown:
        chosen = "<- chosen" if p.extra_macs == plan.extra_macs else ""
        text = " ".join(
            o.kind[0] + (f"{o.tile_rows}x{o.tile_cols}" if o.tile_rows * o.tile_cols > 1 else "") for o in p.options
        )
        table.add_row(kib(p.arena_bytes), f"{p.extra_macs_ratio:.2%}", text, chosen)
    return table
