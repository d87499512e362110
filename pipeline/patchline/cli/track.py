"""`patchline track`"""

from __future__ import annotations

from typing import Annotated

import typer


def command(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Log the results of this pipeline state to MLflow, once, and say how to open them."""
    import json

    from patchline.tracking import runs, state

    tracked = runs.track(state.work_root())
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
