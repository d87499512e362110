"""`patchline track`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from patchline.tracking.runs import Tracked


def command(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder that `patchline compile` wrote; default: this pipeline state.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow experiment for a compiled model; default: patchline-models.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Log the results of this pipeline state, or of one compiled model, to MLflow, once, and say how to open them.

    A compiled model needs no project: without one the store is mlflow.db in the current folder, or MLFLOW_TRACKING_URI.
    """
    from patchline.errors import UserError
    from patchline.tracking import compiled, runs, state

    if folder is not None:
        tracked = compiled.track(folder, experiment or compiled.EXPERIMENT)
    elif experiment is not None:
        raise UserError("--experiment is for a compiled model; the pipeline's is tracking.experiment in params.yaml")
    else:
        tracked = runs.track(state.work_root())
    _show(tracked, as_json)


def _show(tracked: Tracked, as_json: bool) -> None:
    import json

    store, experiment = tracked.store, tracked.experiment_id
    link = store.runs_link(experiment)
    if as_json:
        content = {
            "run_id": tracked.run_id,
            "experiment_id": experiment,
            "state": tracked.state,
            "created": tracked.created,
            "link": link,
            "command": store.serve_command,
        }
        print(json.dumps(content, indent=2))
        return
    print(f"{'logged to' if tracked.created else 'already in'} MLflow: run {tracked.run_id}")
    if store.serve_command:
        print(f"open it with:   {store.serve_command}")
    print(f"then go to:     {link}" if store.serve_command else f"open it at:     {link}")
    print(f"this run:       {store.run_link(experiment, tracked.run_id)}")
    if len(tracked.siblings) > 1:
        print(f"compare:        {store.compare_link(experiment, list(tracked.siblings))}")
