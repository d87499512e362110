"""Where MLflow keeps the runs: the address, its safe first use, and the links that people open."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from patchline.errors import UserError
from patchline.tracking import location
from patchline.tracking.state import store_root

LOCAL_SERVER = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Store:
    """An MLflow store. `uri` is MLFLOW_TRACKING_URI, or a SQLite file in the project that DVC experiments share."""

    uri: str
    root: Path  # the folder that holds the store when it is local

    @property
    def local(self) -> bool:
        return self.uri.startswith("sqlite:")

    @property
    def database(self) -> Path:
        """The file of a local store."""
        return sqlite_file(self.uri)

    @property
    def exists(self) -> bool:
        """False only for a local store that nobody has used yet."""
        return not self.local or self.database.exists()

    @property
    def web(self) -> str:
        """Address of the UI, without the password that a tracking address may carry."""
        if self.local:
            return LOCAL_SERVER
        parts = urlsplit(self.uri)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    @property
    def serve_command(self) -> str | None:
        """The command that opens a local store in a browser; None where a server runs already."""
        if not self.local:
            return None
        mlflow = Path(sys.prefix) / "bin" / "mlflow"
        program = os.path.relpath(mlflow) if mlflow.is_relative_to(self.root) else "mlflow"
        # Without the variable the server starts its job workers too: three times slower and 2 GB of memory.
        return (
            f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {program} server --backend-store-uri {self.uri} "
            "--host 127.0.0.1 --port 5000 --workers 1"
        )

    def runs_link(self, experiment_id: str) -> str:
        return f"{self.web}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"

    def run_link(self, experiment_id: str, run_id: str) -> str:
        return f"{self.web}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"

    def compare_link(self, experiment_id: str, run_ids: list[str]) -> str:
        runs, experiments = quote(json.dumps(run_ids)), quote(json.dumps([experiment_id]))
        return f"{self.web}/#/compare-runs?runs={runs}&experiments={experiments}&workflowType=machine_learning"


def sqlite_file(uri: str) -> Path:
    """The file behind `uri`, which starts with sqlite:///."""
    return Path(uri.removeprefix("sqlite:///")).absolute()


def store_of(root: Path) -> Store:
    """The store of the project in `root`."""
    home = store_root(root)
    return Store(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}", home)


@contextmanager
def exclusive(store: Store) -> Iterator[None]:
    """Only one process at a time on a local store: its tables are made on first use, and four that try at once crash.

    A server serialises by itself, so there this does nothing.
    """
    if not store.local:
        yield
        return
    try:
        store.database.parent.mkdir(parents=True, exist_ok=True)
        stream = store.database.with_name(f"{store.database.name}.lock").open("w")
    except OSError as error:
        raise UserError(
            f"the MLflow store {store.database} cannot be written ({error.strerror}): change to a folder of your own, "
            "or set MLFLOW_TRACKING_URI"
        ) from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def select(store: Store) -> None:
    """Make `store` the default of MLflow's own functions in this process; one that was moved or copied is mended."""
    import mlflow

    if store.local and (done := location.follow(store.database)) is not None:
        print(done, file=sys.stderr, flush=True)

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(store.uri)
    if before is None:  # MLflow exports the address; left in place it would pass for the user's choice from now on
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def connect(store: Store) -> Any:
    """An MlflowClient on `store`; also the default of mlflow's own functions. Call inside `exclusive` on first use."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for name in (
        "alembic",
        "mlflow.store.db.utils",
        "mlflow.store.model_registry.abstract_store",
        "mlflow.tracking.fluent",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    select(store)
    client = mlflow.MlflowClient()
    try:
        client.search_experiments(max_results=1)
    except mlflow.MlflowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the MLflow store at {store.web if not store.local else store.uri} does not answer: {reason}. "
            "Start the server, or unset MLFLOW_TRACKING_URI to use the project's own store"
        ) from None
    return client


def find_experiment(client: Any, name: str) -> str | None:
    """Identifier of the experiment `name`, None when there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment '{name}' was deleted: choose another name (tracking.experiment in params.yaml, "
            f"--experiment for a compiled model), or restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    return None if found is None else str(found.experiment_id)


def experiment_id(store: Store, client: Any, name: str) -> str:
    """Identifier of the experiment `name`; made when it does not exist."""
    from mlflow import MlflowException

    found = find_experiment(client, name)
    if found is not None:
        return found
    # Without a location a local store would put artifacts below the current folder, wherever that is.
    place = (store.database.parent / location.ARTIFACTS).as_uri() + "/" + quote(name) if store.local else None
    try:
        return str(client.create_experiment(name, artifact_location=place))
    except MlflowException:  # another process was faster
        found = find_experiment(client, name)
        if found is None:
            raise
        return found
