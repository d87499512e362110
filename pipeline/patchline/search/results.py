"""What the search writes: the front as a table, the metrics, the fine-tuned winner (shared between boards)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from patchline.data import parts
from patchline.network import filters
from patchline.schedule import Plan
from patchline.schedule.limits import Limits
from patchline.search.study import SearchResult
from patchline.supernet import StaticNet, load_static, save_static
from patchline.supernet.checkpoint import run_key


def front_rows(result: SearchResult) -> list[dict[str, Any]]:
    """The Pareto front as rows, from the least memory; `winner` marks the choice."""
    candidates = list(result.front)
    if all(c.arch != result.winner.arch for c in candidates):
        candidates.append(result.winner)
    rows = [
        {
            "trial": c.trial,
            "sram_peak_bytes": c.cost.sram_peak_bytes,
            "accuracy": c.accuracy,
            "executed_macs": c.cost.executed_macs,
            "flash_bytes": c.cost.flash_bytes,
            "latency_ms_est": round(c.cost.latency_ms_est, 3),
            "resolution": c.arch.resolution,
            "winner": int(c.arch == result.winner.arch),
            "architecture": c.arch.label,
        }
        for c in candidates
    ]
    return sorted(rows, key=lambda row: row["sram_peak_bytes"])


def metrics(
    result: SearchResult, plan: Plan, limits: Limits, accuracy_val: float, cycles: int, latency_ms: float
) -> dict[str, Any]:
    """The stage's metrics under the names that the whole pipeline uses; `cycles` and `latency_ms` are predictions."""
    return {
        "accuracy_val": accuracy_val,
        "accuracy_supernet": result.winner.accuracy,
        "sram_peak_bytes": plan.sram_peak_bytes,
        "activation_peak_bytes": plan.activation_peak_bytes,
        "sram_layer_by_layer_bytes": plan.sram_layer_by_layer_bytes,
        "flash_bytes": plan.flash.total,
        "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio,
        "cycles_predicted": cycles,
        "latency_ms_predicted": round(latency_ms, 3),
        "resolution": result.winner.arch.resolution,
        "trials": result.trials,
        "feasible_candidates": result.feasible,
        "sram_limit_bytes": limits.sram,
    }


def remembered_network(folder: Path, settings: Sequence[Any], make: Callable[[], StaticNet]) -> StaticNet:
    """The network that `make` trains, kept in `folder` under a hash of the code and `settings` (JSON values).

    Two boards with the same winner share it, and so does the next run.
    """
    package = Path(__file__).parents[1]
    own = [Path(__file__).parent / "finetune.py", Path(parts.__file__), Path(filters.__file__)]
    code = [*own, *sorted((package / "supernet").glob("*.py"))]
    path = folder / f"{run_key(list(settings), None, *code)}.pt"
    if not path.exists():
        save_static(path, make())
    return load_static(path)
