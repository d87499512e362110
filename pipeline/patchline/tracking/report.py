"""One self-contained HTML page about a pipeline state: verdict first, then where the bytes and the time go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from patchline.tracking import charts
from patchline.tracking.results import Constraint, Results, TargetResult
from patchline.tracking.svg import Chart, environment, kb, number, render

WIDE, NARROW = 760, 344
MAX_MATRIX_CLASSES = 12
MAX_FLASH_PARTS = 8


@dataclass(frozen=True)
class Champion:
    """The registered model that holds the alias `champion`: its version and the final metrics of its run."""

    version: str
    metrics: Mapping[str, float]
    test_hash: str
    state: str = ""  # its pipeline state


@dataclass(frozen=True)
class Part:
    """One bar of a breakdown; `share` is of the whole (0..1)."""

    label: str
    text: str
    share: float
    strong: bool = False


@dataclass(frozen=True)
class Difference:
    label: str
    champion: str
    challenger: str
    change: str
    better: bool | None  # None: neither


COMPARED: tuple[tuple[str, str, str, bool], ...] = (
    ("accuracy_device", "Accuracy on the device", "%", True),
    ("sram_peak_bytes", "Peak SRAM", "B", False),
    ("flash_bytes", "Flash", "B", False),
    ("latency_ms_est", "Latency (estimate)", "ms", False),
    ("macs", "Multiply-accumulates", "MACs", False),
)


def render_report(
    results: Results, champions: Mapping[str, Champion] | None = None, commit: str = "", state: str = ""
) -> str:
    """The report as HTML text without any outside reference.

    `champions` maps a board's name to its current champion; `commit` and `state` are shown when given.
    """
    views = [_target_view(results, result, (champions or {}).get(result.name), state) for result in results.targets]
    page = environment().get_template("report.html.j2")
    return str(
        page.render(
            results=results,
            targets=views,
            good=sum(1 for r in results.targets if r.holds),
            commit=commit,
            state=state,
            training=_both(lambda width: charts.training_curve(results, width)),
        )
    )


def memory_picture(results: Results, result: TargetResult) -> str:
    """The memory-per-block chart as an SVG file of its own."""
    return render(
        charts.memory_per_block(result.name, result.plan, result.blocks, _budget(results), WIDE), standalone=True
    )


def headline(result: TargetResult) -> str:
    """One sentence with the three figures a manager asks for."""
    m = result.metrics
    latency = number(m.get("latency_ms_est", 0))
    return f"{m.get('accuracy_device', 0):.1%} in {kb(m.get('sram_peak_bytes', 0))} of SRAM, {latency} ms (estimate)"


def amount(value: float, unit: str) -> str:
    """A value in its unit as a person writes it."""
    if unit == "B":
        return kb(value)
    if unit == "MACs":
        return f"{value / 1e6:.2f} M"
    if unit == "ms":
        return f"{number(value)} ms"
    return f"{value * 100:.3f}".rstrip("0").rstrip(".") + " %"


def _budget(results: Results) -> int | None:
    return results.params.search.sram_budget


def _target_view(results: Results, result: TargetResult, champion: Champion | None, state: str) -> dict[str, Any]:
    budget = _budget(results)
    return {
        "name": result.name,
        "result": result,
        "m": result.metrics,
        "headline": headline(result),
        "constraints": [_constraint_view(c) for c in result.constraints],
        "failed": [c.label for c in result.constraints if not c.holds],
        "memory": _both(lambda width: charts.memory_per_block(result.name, result.plan, result.blocks, budget, width)),
        "ways": _memory_ways(result),
        "timeline": _both(lambda width: charts.arena_timeline(result.plan, result.blocks, width)),
        "latency": _both(lambda width: charts.latency_per_op(result, width)),
        "pareto": _both(lambda width: charts.pareto_front(result, budget, width)),
        "sram_parts": _sram_parts(result),
        "flash": _flash_parts(result),
        "matrices": _matrices(results, result),
        "pairs": _confused_pairs(results, result),
        "champion": champion,
        "is_champion": champion is not None and bool(state) and champion.state == state,
        "comparable": champion is not None and champion.test_hash == results.comparable_hash(result),
        "images": result.details.get("images") or (results.manifest.get("counts") or {}).get("test"),
        "differences": _differences(results, result, champion),
    }


def _both(draw: Callable[[float], Chart | None]) -> Markup | None:
    """The chart twice: laid out for a screen or paper, and for a phone; CSS shows one of them."""
    wide, narrow = draw(WIDE), draw(NARROW)
    if wide is None or narrow is None:
        return None
    return Markup(f'<div class="wide">{render(wide)}</div><div class="narrow">{render(narrow)}</div>')


def _constraint_view(c: Constraint) -> dict[str, Any]:
    share = c.value / c.limit if c.limit else float(c.value > 0)
    return {
        "label": c.label,
        "value": amount(c.value, c.unit),
        "limit": amount(c.limit, c.unit) if c.exact else f"at most {amount(c.limit, c.unit)}",
        "holds": c.holds,
        "share": min(share, 1.0),
        "exact": c.exact,
    }


def _memory_ways(result: TargetResult) -> list[Part]:
    m = result.metrics
    ways = [
        ("Layer by layer", m.get("sram_layer_by_layer_bytes"), False),
        (f"Patches as in MCUNetV2{_again(m.get('patch_extra_macs_ratio'))}", m.get("sram_patch_bytes"), False),
        (f"This firmware{_again(m.get('extra_macs_ratio'))}", m.get("sram_peak_bytes"), True),
    ]
    top = max((size for _, size, _ in ways if size), default=1.0)
    return [Part(label, kb(size), size / top, strong) for label, size, strong in ways if size]


def _again(ratio: float | None) -> str:
    """MACs computed twice, as a remark."""
    return "" if ratio is None else f" (+{ratio:.1%} MACs)"


def _sram_parts(result: TargetResult) -> list[Part]:
    sram = result.plan.sram
    parts = [
        ("Activations", sram.activations),
        ("Kernel scratch and padding", sram.scratch_and_padding),
        ("Runtime variables", sram.static),
        ("Stack (reserved)", sram.stack),
    ]
    return [Part(label, kb(size), size / max(sram.total, 1)) for label, size in parts]


def _flash_parts(result: TargetResult) -> list[Part]:
    """Weights per block, exact; what remains of the linked size is code and tables."""
    total = result.metrics.get("flash_bytes", float(result.plan.flash.total))
    blocks = sorted(result.weights.items(), key=lambda item: -item[1])
    blocks = [(name, size) for name, size in blocks if size]
    parts = [(f"Weights of {name}", size) for name, size in blocks[:MAX_FLASH_PARTS]]
    rest = sum(size for _, size in blocks[MAX_FLASH_PARTS:])
    if rest:
        parts.append((f"Weights of {len(blocks) - MAX_FLASH_PARTS} other blocks", rest))
    parts.append(("Code, tables, padding", max(int(total) - sum(result.weights.values()), 0)))
    return [Part(label, kb(size), size / total if total else 0.0) for label, size in parts]


def _matrices(results: Results, result: TargetResult) -> list[dict[str, Any]]:
    titles = {"fp32": "Float model", "int8": "Int8 reference", "device": "On the device"}
    if len(results.classes) > MAX_MATRIX_CLASSES:
        return []
    found = []
    for kind, counts in result.confusions.items():
        rows = []
        for i, row in enumerate(counts):
            total = sum(row) or 1
            cells = [{"count": n, "share": round(n / total, 3), "hit": i == j} for j, n in enumerate(row)]
            rows.append({"name": _class_name(results, i), "cells": cells})
        found.append({"title": titles[kind], "accuracy": result.metrics.get(f"accuracy_{kind}"), "rows": rows})
    return found


def _confused_pairs(results: Results, result: TargetResult) -> list[dict[str, Any]]:
    """The ten most frequent mistakes; instead of the matrix where there are many classes."""
    counts = result.confusions.get("device") or result.confusions.get("int8") or []
    if len(results.classes) <= MAX_MATRIX_CLASSES:
        return []
    wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    return [
        {"count": n, "actual": _class_name(results, i), "predicted": _class_name(results, j)}
        for n, i, j in sorted(wrong, reverse=True)[:10]
    ]


def _class_name(results: Results, index: int) -> str:
    return results.classes[index] if index < len(results.classes) else str(index)


def _differences(results: Results, result: TargetResult, champion: Champion | None) -> list[Difference]:
    if champion is None:
        return []
    found = []
    for metric, label, unit, more_is_better in COMPARED:
        old, new = champion.metrics.get(metric), result.metrics.get(metric)
        if old is None or new is None:
            continue
        if unit == "%":
            texts = f"{old:.2%}", f"{new:.2%}", f"{(new - old) * 100:+.2f} points"
        else:
            change = f"{(new - old) / old:+.1%}" if old else "new"
            texts = amount(old, unit), amount(new, unit), change
        found.append(Difference(label, *texts, None if new == old else (new > old) == more_is_better))
    return found
