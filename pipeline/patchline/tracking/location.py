"""MLflow's SQLite store keeps absolute paths of artifacts; when the project is moved or copied, they follow here.

Only addresses that Patchline gave are touched: those below the folder `mlartifacts` that lies beside the database.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from patchline.errors import UserError

ARTIFACTS = "mlartifacts"
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's store that hold addresses of artifacts."""


def follow(database: Path) -> str | None:
    """Have the store `database` find its artifacts, and put new ones, where it lies now.

    Returns what was done, for the user, or None where nothing was. New runs always go beside the database. A finished
    run whose artifacts were left behind (a copy without them) keeps its address, so that they can still be read.
    Raises UserError when the store was moved and cannot be written.
    """
    if not database.exists():
        return None
    here = database.parent
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as store:
        try:
            if not any(_moves(store, here)):
                return None
            store.execute("BEGIN IMMEDIATE")
            moves = list(_moves(store, here))  # again: another process may have been faster
            for table, column, old, new in moves:
                store.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, old))
            store.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the MLflow store {database} comes from another folder and its artifacts cannot be looked up here "
                f"({error}): make it writable, or set MLFLOW_TRACKING_URI"
            ) from None
    origins = sorted({str(_folder(old)) for table, _, old, _ in moves if table != "datasets"})
    if not origins:
        return None
    return f"the MLflow store came from {', '.join(origins)}: from now on its artifacts are those in {here / ARTIFACTS}"


def _moves(store: sqlite3.Connection, here: Path) -> Iterator[tuple[str, str, str, str]]:
    """(table, column, address, its new address) of all that came along from another folder."""
    tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    own = f"{here.as_uri()}/{ARTIFACTS}/"
    origins: set[str] = set()
    for table, column in ADDRESSES:
        if table not in tables:
            continue
        query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE ? AND substr({column}, 1, ?) <> ?"
        for (address,) in store.execute(query, (f"file:///%/{ARTIFACTS}/%", len(own), own)).fetchall():
            origin, rest = _folder(address), address.rpartition(f"/{ARTIFACTS}/")[2]
            if _same(origin, here):
                continue
            left_behind = _path(address).exists() and not _path(own + rest).exists()
            if table == "experiments" or not left_behind:
                origins.add(str(origin))
                yield table, column, address, own + rest
    if "datasets" in tables:
        for (text,) in store.execute("SELECT DISTINCT dataset_source FROM datasets").fetchall():
            source = json.loads(text) if text.startswith("{") else {}
            if source.get("repository") in origins:
                yield "datasets", "dataset_source", text, json.dumps({**source, "repository": str(here)})


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def _folder(address: str) -> Path:
    """The folder that held the store when `address` was given."""
    return _path(address.rpartition(f"/{ARTIFACTS}/")[0])


def _same(a: Path, b: Path) -> bool:
    """Whether both are one folder, by whatever name (a link, a mount)."""
    return a == b or (a.exists() and b.exists() and a.samefile(b))
