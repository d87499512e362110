"""Registered models: one per project and board, a version per pipeline state, and the alias `champion`."""

from __future__ import annotations

from typing import Any

from patchline.tracking.report import Champion, headline
from patchline.tracking.results import FINAL_METRICS, Results

CHAMPION = "champion"
STATE_TAG = "patchline.state"


def model_name(project: str, target: str) -> str:
    return f"patchline-{project}-{target}"


def ensure_versions(client: Any, results: Results, run_id: str, identity: str) -> None:
    """Register the run's models that have no version yet: a run that was interrupted here is completed."""
    from mlflow import MlflowException

    models = {m.name: m.model_id for m in _logged_models(client, run_id)}
    for result in results.targets:
        name = model_name(results.params.project, result.name)
        if version_of(client, name, identity) or result.name not in models:
            continue
        try:
            client.create_registered_model(
                name, description=f"Firmware and ONNX model of project {results.params.project} for {result.name}."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        model_id = models[result.name]
        client.create_model_version(
            name,
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            description=headline(result),
            tags={
                STATE_TAG: identity,
                "patchline.test_hash": results.comparable_hash(result),
                "patchline.constraints": "all hold" if result.holds else "broken",
            },
        )


def version_of(client: Any, name: str, identity: str) -> Any | None:
    """The version of model `name` that belongs to the pipeline state `identity`."""
    found = client.search_model_versions(f"name = '{name}'")
    return next((v for v in found if v.tags.get(STATE_TAG) == identity), None)


def champions(client: Any, results: Results) -> dict[str, Champion]:
    """The current champion of every board of `results` that has one."""
    found = {}
    for result in results.targets:
        version = champion_version(client, model_name(results.params.project, result.name))
        if version is not None:
            found[result.name] = read_champion(client, version, result.name)
    return found


def champion_version(client: Any, name: str) -> Any | None:
    from mlflow import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def read_champion(client: Any, version: Any, target: str) -> Champion:
    metrics = client.get_run(version.run_id).data.metrics
    known = {key: metrics[f"{target}/{key}"] for key in FINAL_METRICS if f"{target}/{key}" in metrics}
    return Champion(
        str(version.version), known, version.tags.get("patchline.test_hash", ""), version.tags.get(STATE_TAG, "")
    )


def _logged_models(client: Any, run_id: str) -> list[Any]:
    outputs = client.get_run(run_id).outputs
    return [client.get_logged_model(m.model_id) for m in (outputs.model_outputs if outputs else [])]
