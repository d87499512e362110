"""The files of a finished pipeline as one frozen record: what the report draws and what MLflow is told."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patchline import targets as boards
from patchline.config import Params, load_params
from patchline.files import read_json
from patchline.network.ir import Network
from patchline.schedule.limits import Limits, executed_macs
from patchline.schedule.plan import Plan, load_plan
from patchline.tracking import stage_metrics

FINAL_METRICS = (  # in the order in which they are logged: MLflow's compare page draws the first one
    "accuracy_device",
    "accuracy_int8",
    "accuracy_fp32",
    "accuracy_constant",
    "sram_peak_bytes",
    "activation_peak_bytes",
    "arena_bytes",
    "sram_layer_by_layer_bytes",
    "sram_patch_bytes",
    "patch_extra_macs_ratio",
    "flash_bytes",
    "macs",
    "extra_macs_ratio",
    "instructions",
    "cycles_est",
    "latency_ms_est",
    "latency_prediction_error",
    "stack_bytes",
    "bit_exact_outputs",
)

KINDS = ("fp32", "int8", "device")  # what was judged on the test split

Row = dict[str, Any]


@dataclass(frozen=True)
class Constraint:
    """One promise of params.yaml or the board, and what was measured. `limit` is an upper bound unless `exact`."""

    metric: str
    label: str
    limit: float
    value: float
    unit: str  # "B", "MACs", "ms" or "ratio"
    exact: bool = False

    @property
    def holds(self) -> bool:
        return self.value == self.limit if self.exact else self.value <= self.limit


@dataclass(frozen=True)
class TargetResult:
    """Everything the pipeline found out about one board."""

    target: boards.Target
    metrics: dict[str, float]  # the final metrics, in the order of FINAL_METRICS
    constraints: tuple[Constraint, ...]
    plan: Plan
    blocks: tuple[str, ...]  # block label of every operator
    weights: dict[str, int]  # block -> bytes of weights and biases
    pareto: tuple[Row, ...]
    per_op: tuple[Row, ...]
    confusions: dict[str, list[list[int]]]  # "fp32", "int8", "device" -> counts [actual][predicted]
    details: dict[str, Any] = field(default_factory=dict)  # the stages' metrics files merged, as they are

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def warning(self) -> str | None:
        """What to say of an accuracy that is near the one of a constant answer."""
        return stage_metrics.warning(self.details)

    @property
    def holds(self) -> bool:
        return all(c.holds for c in self.constraints)


@dataclass(frozen=True)
class Results:
    """One pipeline state."""

    root: Path
    params: Params
    targets: tuple[TargetResult, ...]
    manifest: dict[str, Any]  # data/prepared/manifest.json over metrics/prepare.json
    training: tuple[Row, ...]  # curve of the supernet's training

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.manifest.get("classes", [])]

    @property
    def test_hash(self) -> str:
        """Hash of the test split: accuracies are comparable only where it is the same."""
        return str(self.manifest.get("test_hash") or (self.manifest.get("hashes") or {}).get("test") or "")

    def comparable_hash(self, result: TargetResult) -> str:
        """The test hash, with the number of images where the benchmark ran fewer than the whole split."""
        images = self.params.benchmark.images
        return self.test_hash if images is None else f"{self.test_hash}:{result.details.get('images', images)}"


def load_results(root: Path, params: Params | None = None) -> Results:
    """Read the results below `root`. UserError naming the first file that is missing."""
    params = params or load_params(root / "params.yaml")
    manifest = _optional_json(root / "metrics/prepare.json") | _optional_json(root / "data/prepared/manifest.json")
    return Results(
        root=root,
        params=params,
        targets=tuple(_load_target(root, params, name) for name in params.targets),
        manifest=manifest,
        training=_rows(root / "plots/train_supernet.csv"),
    )


def constraints_of(params: Params, target: boards.Target, metrics: dict[str, float]) -> tuple[Constraint, ...]:
    """The constraints of params.yaml and the board against `metrics` (names of FINAL_METRICS)."""
    if "macs" in metrics:
        metrics = {**metrics, "executed_macs": executed_macs(metrics["macs"], metrics.get("extra_macs_ratio", 0.0))}
    found = [
        Constraint(
            limit.metric,
            limit.name[0].upper() + limit.name[1:],
            limit.value,
            metrics.get(limit.metric, float("inf")),
            limit.unit,
        )
        for limit in Limits.of(params.search, target).each()
    ]
    exact = Constraint(
        "bit_exact_outputs", "Bit-exact outputs", 1.0, metrics.get("bit_exact_outputs", 0.0), "ratio", True
    )
    return (*found, exact)


def _load_target(root: Path, params: Params, name: str) -> TargetResult:
    details = stage_metrics.load(root, name)
    metrics = {key: float(details[key]) for key in FINAL_METRICS if isinstance(details.get(key), int | float)}
    plan = load_plan(stage_metrics.required(root / f"models/{name}/plan.json"))
    network = _load_network(root / f"models/{name}/network.npz")
    target = boards.load(name)
    return TargetResult(
        target=target,
        metrics=metrics,
        constraints=constraints_of(params, target, metrics),
        plan=plan,
        blocks=tuple(op.block or op.name for op in network.ops),
        weights=_weights_by_block(network),
        pareto=_rows(root / f"models/{name}/pareto.csv"),
        per_op=_rows(root / f"plots/{name}/per_op.csv"),
        confusions={kind: details[f"confusion_{kind}"] for kind in KINDS if details.get(f"confusion_{kind}")},
        details=details,
    )


def _load_network(path: Path) -> Network:
    from patchline.network import serialize

    return serialize.load(stage_metrics.required(path))


def _weights_by_block(network: Network) -> dict[str, int]:
    """Bytes of the constants of each block, largest arrays only: weights, biases and multipliers."""
    found: dict[str, int] = {}
    for op in network.ops:
        size = sum(int(getattr(op, name).nbytes) for name in ("weights", "bias", "table") if hasattr(op, name))
        requant = getattr(op, "requant", None)
        if requant is not None:
            size += int(requant.multipliers.nbytes + requant.shifts.nbytes)
        found[op.block or op.name] = found.get(op.block or op.name, 0) + size
    return found


def _optional_json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.exists() else {}


def _rows(path: Path) -> tuple[Row, ...]:
    """Rows of a CSV file with numbers as numbers; () when there is no file."""
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as stream:
        return tuple({key: _number(value) for key, value in row.items()} for row in csv.DictReader(stream))


def _number(text: str | None) -> Any:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return text
