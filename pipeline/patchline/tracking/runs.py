"""One MLflow run per pipeline state: what a manager compares on one line, what an engineer needs below it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchline import __version__
from patchline.files import write_text
from patchline.progress import track as progress
from patchline.tracking import registry, report, state
from patchline.tracking.results import Results, TargetResult, load_results
from patchline.tracking.store import Store, connect, exclusive, experiment_id, store_of
from patchline.tracking.svg import kb

STATE_TAG = "patchline.state"
WRITING_TAG = "patchline.writing"  # the state while a run is being written; STATE_TAG is set last
MAX_CANDIDATES = 50
MAX_CURVE_POINTS = 500


@dataclass(frozen=True)
class Tracked:
    """Where the run of a pipeline state or of a compiled model stands. `created` is False when it was there before."""

    store: Store
    experiment_id: str
    run_id: str
    state: str
    created: bool
    siblings: tuple[str, ...]  # the latest runs of the experiment, this one first


def track(root: Path) -> Tracked:
    """Log the pipeline state that lies in `root` to MLflow, once: a state that has its run already is found by its tag.

    Raises UserError when results are missing or do not belong to dvc.lock, or when the store does not answer.
    """
    results = load_results(root)
    state.check_fresh(root, results.params.targets)
    identity = state.pipeline_state(root)
    store = store_of(root)
    with exclusive(store):
        client = connect(store)
        experiment = experiment_id(store, client, results.params.experiment)
        found = find_run(client, experiment, identity)
        created = found is None
        if found is None:
            drop_unfinished(store, client, experiment, identity)
            found = _log(store, client, experiment, results, identity)
        registry.ensure_versions(client, results, found, identity)
        return Tracked(store, experiment, found, identity, created, siblings(client, experiment, found))


def find_run(client: Any, experiment: str, identity: str) -> str | None:
    """Identifier of the finished run of the state `identity`."""
    found = client.search_runs([experiment], f"tags.`{STATE_TAG}` = '{identity}'", max_results=1)
    return found[0].info.run_id if found else None


def siblings(client: Any, experiment: str, run_id: str) -> tuple[str, ...]:
    """The latest finished runs of the experiment, `run_id` first."""
    found = client.search_runs([experiment], f"tags.`{STATE_TAG}` != ''", max_results=6, order_by=["start_time DESC"])
    return (run_id, *(run.info.run_id for run in found if run.info.run_id != run_id))[:6]


def drop_unfinished(store: Store, client: Any, experiment: str, identity: str) -> None:
    """Delete what an interrupted `track` of this state left. On a server a young one may still be at work."""
    for run in client.search_runs([experiment], f"tags.`{WRITING_TAG}` = '{identity}'"):
        if store.local or time.time() - run.info.start_time / 1e3 > 600:
            for child in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"):
                client.delete_run(child.info.run_id)
            client.delete_run(run.info.run_id)


def _log(store: Store, client: Any, experiment: str, results: Results, identity: str) -> str:
    import mlflow

    from patchline.tracking.dataset import prepared_dataset

    champions = registry.champions(client, results)
    with mlflow.start_run(
        experiment_id=experiment,
        run_name=run_name(results),
        tags={**_tags(results), WRITING_TAG: identity},
        description=description(results, identity),
    ) as run:
        mlflow.log_params(_params(results))
        _log_metrics(client, run.info.run_id, results)
        mlflow.log_input(prepared_dataset(results, store.root), context="training")
        with tempfile.TemporaryDirectory() as folder:
            _gather_artifacts(Path(folder), results, champions, identity)
            mlflow.log_artifacts(folder)
        for result in progress(results.targets, "models to MLflow"):
            _log_model(results, result)
        _log_candidates(client, experiment, run.info.run_id, results)
        client.set_tag(run.info.run_id, STATE_TAG, identity)
        client.delete_tag(run.info.run_id, WRITING_TAG)
    return str(run.info.run_id)


def run_name(results: Results) -> str:
    """What came out and what was allowed, for the first board: the runs table shows about twenty characters."""
    first = results.targets[0].metrics
    size = kb(first.get("sram_peak_bytes", 0))
    budget = results.params.search.sram_budget
    memory = f"{size.removesuffix(' KB')}/{kb(budget)}" if budget else size
    name = f"{first.get('accuracy_device', 0):.1%} in {memory}"
    experiment = os.environ.get("DVC_EXP_NAME")
    return f"{name} ({experiment})" if experiment else name


def description(results: Results, identity: str) -> str:
    """The run's note, in Markdown."""
    lines = [
        "| board | accuracy on device | peak SRAM | layer by layer | flash | latency (estimate) | constraints |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results.targets:
        m = r.metrics
        failed = ", ".join(c.label for c in r.constraints if not c.holds)
        lines.append(
            f"| {r.name} | {m.get('accuracy_device', 0):.2%} | **{kb(m.get('sram_peak_bytes', 0))}** "
            f"| {kb(m.get('sram_layer_by_layer_bytes', 0))} | {kb(m.get('flash_bytes', 0))} "
            f"| {m.get('latency_ms_est', 0):.1f} ms | {'broken: ' + failed if failed else 'all hold'} |"
        )
    lines.append("")
    lines += [f"**{r.name}: {r.warning}.**\n" for r in results.targets if r.warning]
    if results.manifest.get("composed"):
        lines.append("The data set is composed by a program from real pictures; accuracies hold for this task only.\n")
    lines.append("Artifacts: `report.html` tells the whole story on one page. KB = 1024 bytes.\n")
    lines.append(f"DVC lock hash (without the track entry): `{identity}`")
    return "\n".join(lines)


def _tags(results: Results) -> dict[str, str]:
    root = results.root
    failed = [f"{r.name}: {c.label}" for r in results.targets for c in r.constraints if not c.holds]
    tags = {
        "mlflow.source.git.commit": state.git(root, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": state.git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "mlflow.source.name": "patchline track",
        "patchline.version": __version__,
        "patchline.raw_data": state.locked_hash(root, "prepare", results.params.data.folder),
        "patchline.test_hash": results.test_hash,
        "patchline.constraints": "broken: " + ", ".join(failed) if failed else "all hold",
        "patchline.dvc_experiment": os.environ.get("DVC_EXP_NAME", ""),
        **{f"patchline.{r.name}": report.headline(r) for r in results.targets},
    }
    return {key: value for key, value in tags.items() if value}


def _params(results: Results) -> dict[str, Any]:
    p = results.params
    return {
        "sram_budget_kb": round(p.search.sram_budget / 1024, 3) if p.search.sram_budget else "none",
        "max_macs": p.search.max_macs or "none",
        "schedule": p.search.schedule,
        "input": p.search.input,
        "space": p.train_supernet.space,
        "epochs": p.train_supernet.epochs,
        "trials": p.search.trials,
        "resolution": p.data.resolution,
        "seed": p.seed,
    }


def _log_metrics(client: Any, run_id: str, results: Results) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(f"{r.name}/{key}", value, now, 0) for r in results.targets for key, value in r.metrics.items()]
    metrics += [Metric(f"{r.name}/constraints_hold", float(r.holds), now, 0) for r in results.targets]
    rows = [row for row in results.training if isinstance(row.get("step"), float)]
    for row in rows[:: len(rows) // MAX_CURVE_POINTS + 1]:
        metrics += [
            Metric(f"supernet/{key}", value, now, int(row["step"]))
            for key, value in row.items()
            if key != "step" and isinstance(value, float)
        ]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def _gather_artifacts(folder: Path, results: Results, champions: Mapping[str, report.Champion], identity: str) -> None:
    root = results.root
    commit = state.git(root, "rev-parse", "HEAD")
    write_text(folder / "report.html", report.render_report(results, champions, commit, identity))
    for result in results.targets:
        write_text(folder / f"memory-{result.name}.svg", report.memory_picture(results, result))
        place = folder / "firmware" / result.name
        for path in (*_model_files(root, result.name), root / f"models/{result.name}/pareto.csv"):
            _copy(path, place / path.name)
        build = root / "build" / result.name
        if build.is_dir():
            shutil.copytree(build, place / "source", ignore=shutil.ignore_patterns("build", "*.o", "*.elf"))
    for name in ("params.yaml", "dvc.lock", "data/prepared/manifest.json"):
        _copy(root / name, folder / "pipeline" / Path(name).name)
    if (root / "metrics").is_dir():
        shutil.copytree(root / "metrics", folder / "pipeline" / "metrics")


def _model_files(root: Path, target: str) -> list[Path]:
    """What the registered model needs to run on a board: the firmware, its plan, and the network as reference."""
    found = (f"models/{target}/plan.json", f"models/{target}/network.npz", f"build/{target}/firmware.elf")
    return [root / name for name in found if (root / name).is_file()]


def _copy(source: Path, destination: Path) -> None:
    if source.is_file():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)


def _log_model(results: Results, result: TargetResult) -> None:
    """The ONNX model with its signature; the firmware and what it was made from travel with it."""
    import mlflow
    import onnx
    import onnxruntime

    model = onnx.load(results.root / f"models/{result.name}/model.onnx")
    mlflow.onnx.log_model(
        model,
        name=result.name,
        signature=_signature(model),
        # Stated, because finding them out loads the model in another process (ten seconds).
        pip_requirements=[f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
        extra_files=[path.as_uri() for path in _model_files(results.root, result.name)],
        metadata={
            "target": result.name,
            "classes": results.classes,
            "resolution": results.params.data.resolution,
            "patchline": __version__,
        },
    )


def _signature(model: Any) -> Any:
    import numpy as np
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def spec(value: Any) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
        return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape, value.name)

    return ModelSignature(Schema([spec(v) for v in model.graph.input]), Schema([spec(v) for v in model.graph.output]))


def _log_candidates(client: Any, experiment: str, parent: str, results: Results) -> None:
    """The search's Pareto front as child runs, one level down: visible on request, never in the way."""
    from mlflow.entities import Metric

    rows = [(r, row) for r in results.targets for row in r.pareto[:MAX_CANDIDATES]]
    for result, row in progress(rows, "candidates to MLflow"):
        now = int(time.time() * 1000)
        trial = row.get("trial")
        name = f"{result.name} candidate {trial:.0f}" if isinstance(trial, float) else f"{result.name} candidate"
        tags = {"mlflow.parentRunId": parent, "patchline.candidate": "winner" if row.get("winner") else "front"}
        child = client.create_run(experiment, start_time=now, tags=tags, run_name=name)
        metrics = [
            Metric(f"{result.name}/{key}", value, now, 0)
            for key, value in row.items()
            if isinstance(value, float) and key not in ("trial", "winner")
        ]
        client.log_batch(child.info.run_id, metrics=metrics)
        client.set_terminated(child.info.run_id)
