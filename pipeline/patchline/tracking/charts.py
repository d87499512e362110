"""The charts of the report, as geometry: each function turns a result into a `Chart` of the given width in pixels.

Charts are laid out for their width (a phone gets its own layout instead of a shrunken picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from patchline.schedule.plan import Plan
from patchline.tracking.results import Results, Row, TargetResult
from patchline.tracking.svg import (
    ACCENT,
    BEFORE,
    BUFFERS,
    GRID,
    INK,
    KINDS,
    LIMIT,
    MUTED,
    Chart,
    Label,
    Line,
    Path,
    Rect,
    Scale,
    kb,
    number,
    shorten,
    star,
)

LEFT, RIGHT, TOP = 46.0, 10.0, 30.0


@dataclass(frozen=True)
class BlockPeak:
    """Peak activation bytes while a block runs; `kind` is the segment kind it runs in under the plan."""

    block: str
    before: int  # layer by layer
    after: int  # the chosen plan
    kind: str


def block_peaks(plan: Plan, blocks: tuple[str, ...]) -> tuple[BlockPeak, ...]:
    """The plan's peaks per block, in execution order. `blocks` labels every operator of the plan."""
    kinds = {i: s.kind for s in plan.segments for i in range(s.first_op, s.end_op)}
    found = []
    for label, group in groupby(range(len(blocks)), key=lambda i: blocks[i]):
        ops = list(group)
        before = max(plan.op_peak_layer_bytes[i] for i in ops)
        found.append(BlockPeak(label, before, max(plan.op_peak_bytes[i] for i in ops), kinds.get(ops[0], "layer")))
    return tuple(found)


def memory_per_block(name: str, plan: Plan, blocks: tuple[str, ...], budget: int | None, width: float = 760) -> Chart:
    """Peak SRAM per block, layer by layer against the chosen plan: the picture that makes the method obvious."""
    peaks = block_peaks(plan, blocks)
    before, after = max(p.before for p in peaks), max(p.after for p in peaks)
    chart = Chart(
        width,
        256 + _turned_height(blocks),
        f"{name}: peak activation memory per block, {kb(before)} layer by layer, {kb(after)} with the plan",
    )
    if budget and budget > 1.6 * before:
        budget = None  # the line would only squash the bars
    bottom = 236.0
    y = Scale(0, max(before, budget or 0) * 1.04, bottom, TOP)
    _byte_axis(chart, y, width)
    step = (width - LEFT - RIGHT) / len(peaks)
    for i, peak in enumerate(peaks):
        x = LEFT + i * step
        tip = f"{peak.block}: {kb(peak.before)} layer by layer, {kb(peak.after)} with the plan ({peak.kind})"
        chart.add(
            Rect(round(x + step * 0.08, 2), y(peak.before), step * 0.84, bottom - y(peak.before), BEFORE, tip),
            Rect(round(x + step * 0.24, 2), y(peak.after), step * 0.52, bottom - y(peak.after), KINDS[peak.kind], tip),
            Label(x + step / 2 + 3, bottom + 20, shorten(peak.block), "end", MUTED, 10, turn=-60),
        )
    _segment_band(chart, [p.kind for p in peaks], step, bottom + 3)
    worst = max(range(len(peaks)), key=lambda i: peaks[i].before)
    best = max(range(len(peaks)), key=lambda i: peaks[i].after)
    _peak_label(chart, LEFT + (worst + 0.5) * step, y(before) - 4, kb(before), MUTED, width)
    _peak_label(chart, LEFT + (best + 0.5) * step, y(after) - 4, kb(after), ACCENT, width)
    if budget:
        chart.add(
            Line(LEFT, y(budget), width - RIGHT, y(budget), LIMIT, "5 3", 1.4),
            Label(width - RIGHT, y(budget) - 4, f"budget {kb(budget)}", "end", LIMIT, 11, "bold"),
        )
    kinds = list(dict.fromkeys(p.kind for p in peaks))
    _legend(chart, [("layer by layer", BEFORE), *((f"plan: {kind}", KINDS[kind]) for kind in kinds)])
    return chart


def arena_timeline(plan: Plan, blocks: tuple[str, ...], width: float = 760) -> Chart:
    """Every buffer of the arena as a box: how long it lives (operators, left to right) and where it lies (bytes)."""
    chart = Chart(
        width,
        264 + _turned_height(blocks),
        f"Arena of {kb(plan.arena_bytes)}: which bytes are in use while each operator runs",
    )
    bottom, ops = 250.0, len(blocks)
    x = Scale(0, ops, LEFT, width - RIGHT)
    y = Scale(0, plan.arena_bytes * 1.02, bottom, TOP)
    _byte_axis(chart, y, width)
    for b in plan.buffers:
        top, left = y(b.offset + b.bytes), x(b.first_op)
        tip = f"{b.kind} {b.name}: {b.bytes} bytes at offset {b.offset}, operators {b.first_op} to {b.last_op}"
        chart.add(
            Rect(left, top, x(b.last_op + 1) - left, max(y(b.offset) - top, 0.5), BUFFERS[b.kind], tip, "#ffffff")
        )
    for label, group in groupby(range(ops), key=lambda i: blocks[i]):
        first, *rest = list(group)
        last = rest[-1] if rest else first
        chart.add(
            Line(x(first), bottom, x(first), bottom + 6, MUTED),
            Label((x(first) + x(last + 1)) / 2 + 3, bottom + 14, shorten(label), "end", MUTED, 10, turn=-60),
        )
    used = [kind for kind in BUFFERS if any(b.kind == kind for b in plan.buffers)]
    _legend(chart, [(kind, BUFFERS[kind]) for kind in used])
    return chart


def latency_per_op(result: TargetResult, width: float = 760) -> Chart | None:
    """Estimated milliseconds of each operator; None when the benchmark left no per-operator figures."""
    rows = [r for r in result.per_op if isinstance(r.get("cycles_est"), float)]
    if not rows:
        return None
    times = [r["cycles_est"] / result.target.clock_hz * 1e3 for r in rows]
    labels = [str(r.get("block") or r.get("op")) for r in rows]
    summary = f"{result.name}: estimated latency per operator, {number(sum(times))} ms in all"
    chart = Chart(width, 219 + _turned_height(labels), summary)
    bottom = 205.0
    y = Scale(0, max(times) * 1.08, bottom, TOP)
    for tick in y.ticks(4):
        chart.add(Line(LEFT, y(tick), width - RIGHT, y(tick)), Label(LEFT - 5, y(tick) + 4, number(tick), "end"))
    chart.add(Label(4, TOP - 14, "ms (estimate)"))
    step = (width - LEFT - RIGHT) / len(rows)
    for i, (row, time) in enumerate(zip(rows, times, strict=True)):
        tip = f"{row.get('op', labels[i])}: {number(time)} ms, {row['cycles_est']:.0f} cycles"
        chart.add(Rect(round(LEFT + (i + 0.12) * step, 2), y(time), step * 0.76, bottom - y(time), ACCENT, tip))
    for label, group in groupby(range(len(rows)), key=lambda i: labels[i]):
        members = list(group)
        start, middle = LEFT + members[0] * step, LEFT + (members[0] + len(members) / 2) * step
        chart.add(
            Line(start, bottom, start, bottom + 6, MUTED),
            Label(middle + 3, bottom + 14, shorten(label), "end", MUTED, 10, turn=-60),
        )
    return chart


def pareto_front(result: TargetResult, budget: int | None, width: float = 760) -> Chart | None:
    """Candidates of the search: SRAM against accuracy, the winner as a star; None when there is no front."""
    rows = [r for r in result.pareto if isinstance(r.get("sram_peak_bytes"), float) and _accuracy(r) is not None]
    if not rows:
        return None
    chart = Chart(width, 300, f"{result.name}: Pareto front of the search, {len(rows)} candidates, winner marked")
    points = [(r["sram_peak_bytes"], _accuracy(r) or 0.0) for r in rows]
    sizes, scores = [p[0] for p in points], [p[1] for p in points]
    x = Scale(min(*sizes, budget or sizes[0]) * 0.92, max(*sizes, budget or 0) * 1.06, LEFT, width - RIGHT)
    margin = max((max(scores) - min(scores)) * 0.15, 0.005)
    y = Scale(min(scores) - margin, max(scores) + margin, 250, TOP)
    for tick in (t for t in y.ticks(5) if t <= 1):
        chart.add(Line(LEFT, y(tick), width - RIGHT, y(tick)), Label(LEFT - 5, y(tick) + 4, f"{tick:.1%}", "end"))
    for size in Scale(x.low / 1024, x.high / 1024, 0, 1).ticks(5):
        chart.add(Label(x(size * 1024), 266, number(size), "middle"))
    chart.add(Label(width - RIGHT, 284, "peak SRAM, KB", "end"), Label(4, TOP - 14, "accuracy before fine-tuning"))
    if budget:
        chart.add(
            Line(x(budget), TOP, x(budget), 250, LIMIT, "5 3", 1.4),
            Label(x(budget) - 4, TOP + 10, f"budget {kb(budget)}", "end", LIMIT, 11, "bold"),
        )
    for row, (size, score) in zip(rows, points, strict=True):
        if not row.get("winner"):
            tip = f"trial {row.get('trial', '?')}: {score:.2%} in {kb(size)}"
            chart.add(Rect(x(size) - 4, y(score) - 4, 8, 8, "#8fa3b8", tip, "#ffffff"))
    for row, (size, score) in zip(rows, points, strict=True):
        if row.get("winner"):
            chart.add(
                star(x(size), y(score), 10, ACCENT, f"winner: {score:.2%} in {kb(size)}"),
                Label(x(size), y(score) + 24, "winner", "middle", ACCENT, 11, "bold"),
            )
    return chart


def training_curve(results: Results, width: float = 760) -> Chart | None:
    """Loss of the supernet over its training steps; None when no curve was left."""
    rows = [r for r in results.training if isinstance(r.get("step"), float) and isinstance(r.get("loss"), float)]
    if len(rows) < 2:
        return None
    chart = Chart(width, 220, "Loss of the supernet during training")
    x = Scale(rows[0]["step"], rows[-1]["step"], LEFT, width - RIGHT)
    y = Scale(0, max(r["loss"] for r in rows) * 1.05, 180, TOP)
    for tick in y.ticks(4):
        chart.add(Line(LEFT, y(tick), width - RIGHT, y(tick)), Label(LEFT - 5, y(tick) + 4, number(tick), "end"))
    for tick in x.ticks(5):
        chart.add(Label(x(tick), 196, f"{tick:.0f}", "middle"))
    chart.add(
        Path("M" + "L".join(f"{x(r['step'])} {y(r['loss'])}" for r in rows), stroke=ACCENT),
        Label(4, TOP - 14, "loss"),
        Label(width - RIGHT, 212, "step", "end"),
    )
    return chart


def _turned_height(labels: Sequence[str]) -> float:
    """Pixels that the longest of these labels needs below the axis, set at 10 pixels and turned by 60 degrees."""
    return 12 + max(len(shorten(label)) for label in labels) * 6 * 0.87


def _accuracy(row: Row) -> float | None:
    return next((v for k, v in row.items() if k and k.startswith("accuracy") and isinstance(v, float)), None)


def _byte_axis(chart: Chart, y: Scale, width: float) -> None:
    for tick in Scale(0, y.high / 1024, 0, 1).ticks(5):
        level = y(tick * 1024)
        chart.add(Line(LEFT, level, width - RIGHT, level, GRID), Label(LEFT - 5, level + 4, number(tick), "end"))
    chart.add(Label(LEFT - 5, TOP - 8, "KB", "end"))


def _segment_band(chart: Chart, kinds: list[str], step: float, top: float) -> None:
    """A coloured band under the axis: which blocks are computed together, and how."""
    for kind, group in groupby(range(len(kinds)), key=lambda i: kinds[i]):
        members = list(group)
        chart.add(Rect(round(LEFT + members[0] * step + 1, 2), top, len(members) * step - 2, 5, KINDS[kind], kind))


def _peak_label(chart: Chart, x: float, y: float, text: str, fill: str, width: float) -> None:
    chart.add(Label(min(max(x, LEFT + 26), width - RIGHT - 26), y, text, "middle", fill, 12, "bold"))


def _legend(chart: Chart, entries: list[tuple[str, str]]) -> None:
    x = LEFT + 4
    for text, fill in entries:
        chart.add(Rect(x, 5, 10, 10, fill), Label(x + 14, 14, text, fill=INK))
        x += 26 + 6.2 * len(text)
