"""One MLflow run per model that `patchline compile` made: what came out, what the bench measured, and the firmware."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchline import __version__, build
from patchline.build import elf
from patchline.errors import UserError
from patchline.files import hash_file, read_json, write_text
from patchline.network import serialize
from patchline.network.ir import Network
from patchline.schedule.plan import Plan, load_plan
from patchline.tracking import charts, state
from patchline.tracking.report import WIDE
from patchline.tracking.results import FINAL_METRICS
from patchline.tracking.runs import STATE_TAG, WRITING_TAG, Tracked, drop_unfinished, find_run, siblings
from patchline.tracking.store import connect, exclusive, experiment_id, store_of
from patchline.tracking.svg import kb, number, render

EXPERIMENT = "patchline-models"
BENCHMARK = "benchmark.json"
METRICS = (*FINAL_METRICS, "cycles_device", "latency_ms_device")  # the last two from a real board
CONTENT = ("plan.json", "network.npz", "firmware.elf", BENCHMARK)  # what makes two folders the same


@dataclass(frozen=True)
class Compiled:
    """A folder of `patchline compile`. Figures that nobody has measured yet are not among the metrics."""

    folder: Path
    network: Network
    plan: Plan
    metrics: dict[str, float]  # in the order of METRICS
    identity: str  # SHA-256 over the files of CONTENT


def track(folder: Path, experiment: str = EXPERIMENT) -> Tracked:
    """Log the compiled model in `folder` to MLflow, once: one that has its run already is found by its content.

    The store is that of the project around the current folder; outside of projects it lies in the current folder.
    Raises UserError when the folder is not a compiled model, or its files are not of one piece.
    """
    compiled = load_compiled(folder)
    store = store_of(state.project_root() or Path.cwd())
    with exclusive(store):
        client = connect(store)
        where = experiment_id(store, client, experiment)
        found = find_run(client, where, compiled.identity)
        created = found is None
        if found is None:
            drop_unfinished(store, client, where, compiled.identity)
            found = _log(client, where, compiled)
        return Tracked(store, where, found, compiled.identity, created, siblings(client, where, found))


def load_compiled(folder: Path) -> Compiled:
    """Read and check what `patchline compile` and `patchline bench` wrote into `folder`."""
    for name in ("plan.json", "network.npz"):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder / name} is missing: name a folder that `patchline compile` wrote (for the results of the "
                "pipeline: `patchline track` without a folder)"
            )
    network = serialize.load(folder / "network.npz")
    plan = _plan(folder / "plan.json")
    if plan.network != network.name or len(plan.op_peak_bytes) != len(network.ops):
        raise UserError(f"plan.json and network.npz in {folder} are of different models: run `patchline compile` again")
    figures: dict[str, Any] = {
        "sram_peak_bytes": plan.sram_peak_bytes,
        "activation_peak_bytes": plan.activation_peak_bytes,
        "arena_bytes": plan.arena_bytes,
        "sram_layer_by_layer_bytes": plan.sram_layer_by_layer_bytes,
        "macs": plan.macs,
        "extra_macs_ratio": plan.extra_macs_ratio,
    }
    firmware = folder / "firmware.elf"
    if firmware.is_file():
        figures["flash_bytes"] = build.check_sizes(elf.load(firmware), plan).flash
        figures |= _benchmark(folder)
    metrics = {key: float(figures[key]) for key in METRICS if isinstance(figures.get(key), int | float)}
    return Compiled(folder, network, plan, metrics, _identity(folder))


def _plan(path: Path) -> Plan:
    try:
        return load_plan(path)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no plan, or is damaged ({error}): run `patchline compile` again") from None


def _benchmark(folder: Path) -> dict[str, Any]:
    """The figures of benchmark.json; none when there is no such file. UserError when another firmware was measured."""
    path = folder / BENCHMARK
    if not path.is_file():
        return {}
    try:
        content = dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): run `patchline bench {folder}` again") from None
    if content.get("firmware_sha256") != hash_file(folder / "firmware.elf"):
        raise UserError(f"{path} is of another firmware: run `patchline bench {folder}` again")
    return content


def _identity(folder: Path) -> str:
    hashes = {name: hash_file(folder / name) for name in CONTENT if (folder / name).is_file()}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _log(client: Any, experiment: str, compiled: Compiled) -> str:
    import mlflow
    from mlflow.entities import Metric

    plan = compiled.plan
    tags = {"mlflow.source.name": "patchline track", "patchline.version": __version__, WRITING_TAG: compiled.identity}
    with mlflow.start_run(
        experiment_id=experiment,
        run_name=f"{plan.network} {kb(plan.sram_peak_bytes)} {plan.target}",
        tags=tags,
        description=_description(compiled),
    ) as run:
        identifier = str(run.info.run_id)
        mlflow.log_params(_params(compiled))
        now = int(time.time() * 1000)
        client.log_batch(identifier, metrics=[Metric(key, value, now, 0) for key, value in compiled.metrics.items()])
        with tempfile.TemporaryDirectory() as folder:
            _gather_artifacts(Path(folder), compiled)
            mlflow.log_artifacts(folder)
        client.set_tag(identifier, STATE_TAG, compiled.identity)
        client.delete_tag(identifier, WRITING_TAG)
    return identifier


def _params(compiled: Compiled) -> dict[str, Any]:
    plan, network = compiled.plan, compiled.network
    return {
        "network": plan.network,
        "target": plan.target,
        "input": plan.input_mode,
        "input_shape": "x".join(map(str, network.tensors[network.input].shape)),
        "operators": len(network.ops),
        "schedule": "+".join(dict.fromkeys(segment.kind for segment in plan.segments)),
    }


def _description(compiled: Compiled) -> str:
    """The run's note, in Markdown."""
    m, plan = compiled.metrics, compiled.plan
    rows = [
        ("board", plan.target),
        ("peak SRAM", f"**{kb(plan.sram_peak_bytes)}**, layer by layer {kb(plan.sram_layer_by_layer_bytes)}"),
        ("activations", f"{kb(plan.activation_peak_bytes)}, the arena {kb(plan.arena_bytes)}"),
        ("redundant MACs", f"{plan.extra_macs_ratio:.2%}"),
    ]
    if "flash_bytes" in m:
        rows.append(("flash", kb(m["flash_bytes"])))
    if "latency_ms_est" in m:
        rows.append(("latency (estimate)", f"{number(m['latency_ms_est'])} ms"))
    if "bit_exact_outputs" in m:
        rows.append(("equal to the reference", f"{m['bit_exact_outputs']:.0%} of the outputs"))
    if "accuracy_device" in m:
        rows.append(("accuracy on device", f"{m['accuracy_device']:.2%}"))
    if "accuracy_constant" in m:
        rows.append(("of one and the same answer", f"{m['accuracy_constant']:.2%}"))
    lines = [f"| {plan.network} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]
    if "instructions" not in m:
        lines.append("Not run yet: `patchline bench` measures, `patchline track` then logs a run with its figures.\n")
    lines.append("KB = 1024 bytes. `patchline bench` takes the artifact folder `firmware` as it is.")
    return "\n".join(lines)


def _gather_artifacts(folder: Path, compiled: Compiled) -> None:
    """memory.svg, and the compiled folder without what `make` left in between."""
    blocks = tuple(op.block or op.name for op in compiled.network.ops)
    picture = charts.memory_per_block(compiled.plan.target, compiled.plan, blocks, None, WIDE)
    write_text(folder / "memory.svg", render(picture, standalone=True))
    shutil.copytree(compiled.folder, folder / "firmware", ignore=shutil.ignore_patterns("build", "*.o", ".*"))
