"""The results as Markdown for the page of a CI job: verdicts, memory per block, metrics against another commit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from patchline.errors import UserError
from patchline.tracking import charts
from patchline.tracking.report import amount, headline
from patchline.tracking.results import FINAL_METRICS, Results, TargetResult
from patchline.tracking.svg import kb, shorten

UNITS = {"_bytes": "B", "macs": "MACs", "latency_ms_est": "ms"}
BAR = 32  # characters of the longest bar


def job_summary(results: Results, base: str | None = None) -> str:
    """Markdown about this pipeline state; with `base` (a git revision) its metrics stand beside that commit's."""
    before = metrics_at(results.root, base) if base else {}
    if not before:
        base = None  # the first results: there is nothing to compare with
    parts = [f"## {results.params.project}: {_verdict(results)}", ""]
    for result in results.targets:
        parts += [f"### {result.name}: {headline(result)}", "", *_constraints(result), "", *_profile(result), ""]
        parts += [*_metrics(result, before.get(result.name, {}), base), ""]
    return "\n".join(parts)


def metrics_at(root: Path, revision: str) -> dict[str, dict[str, float]]:
    """Final metrics per board at a git revision, from DVC's cache or remote; {} where that commit has none."""
    command = [sys.executable, "-m", "dvc", "metrics", "diff", revision, "--all", "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"the metrics of {revision} cannot be read: {reason}", exit_code=1)
    found: dict[str, dict[str, float]] = {}
    for path, values in json.loads(done.stdout or "{}").items():
        parts = Path(path).parts
        if len(parts) == 3 and parts[0] == "metrics":
            old = {key: change["old"] for key, change in values.items() if _is_number(change.get("old"))}
            if parts[2] == "search.json":  # its figures are estimates: the later stages' win
                old = {key: value for key, value in old.items() if key not in found.get(parts[1], {})}
            found.setdefault(parts[1], {}).update(old)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _verdict(results: Results) -> str:
    bad = [r.name for r in results.targets if not r.holds]
    return f"constraints are broken on {', '.join(bad)}" if bad else "every constraint holds"


def _constraints(result: TargetResult) -> list[str]:
    lines = ["| constraint | measured | allowed | |", "|---|---:|---:|---|"]
    for c in result.constraints:
        allowed = amount(c.limit, c.unit) if c.exact else f"at most {amount(c.limit, c.unit)}"
        lines.append(f"| {c.label} | {amount(c.value, c.unit)} | {allowed} | {'✅' if c.holds else '❌ broken'} |")
    return lines


def _profile(result: TargetResult) -> list[str]:
    """Peak memory per block as bars of text: pictures are not shown on a job's page."""
    peaks = charts.block_peaks(result.plan, result.blocks)
    top = max(p.before for p in peaks)
    lines = ["<details open><summary>Peak memory per block</summary>", "", "```"]
    for p in peaks:
        full, used = round(p.before / top * BAR), round(p.after / top * BAR)
        bar = ("█" * used + "░" * max(full - used, 0)).ljust(BAR)
        lines.append(f"{shorten(p.block, 16):<16} {bar} {kb(p.after):>9} of {kb(p.before):>9}  {p.kind}")
    return [*lines, "```", "█ the plan, ░ layer by layer", "</details>"]


def _metrics(result: TargetResult, before: dict[str, float], base: str | None) -> list[str]:
    head = f"| metric | this run | {base} | change |" if base else "| metric | this run |"
    lines = [head, "|---|---:|---:|---:|" if base else "|---|---:|"]
    for key in FINAL_METRICS:
        value, old = result.metrics.get(key), before.get(key)
        if value is None:
            continue
        unit = next((unit for end, unit in UNITS.items() if key.endswith(end)), None)
        row = f"| {key} | {_text(key, value, unit)} |"
        if base:
            row += " | |" if old is None else f" {_text(key, old, unit)} | {_change(key, value, old)} |"
        lines.append(row)
    return lines


def _text(key: str, value: float, unit: str | None) -> str:
    if unit is not None:
        return amount(value, unit)
    return f"{value:.4f}" if key.startswith(("accuracy", "bit_exact", "extra", "patch_extra")) else f"{value:,.0f}"


def _change(key: str, value: float, old: float) -> str:
    if value == old:
        return "="
    if key.startswith(("accuracy", "bit_exact", "extra", "patch_extra")):
        return f"{value - old:+.4f}"
    return f"{(value - old) / old:+.1%}" if old else "new"
