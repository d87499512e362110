"""Who may move an alias: one process at a time, by a lock that its owner's death releases.

MLflow has no compare-and-set for an alias. What stands in for it depends on where the registry lies:

* a SQLite file: a lock of the operating system on a file beside it; it ends with the process;
* PostgreSQL: an advisory lock on a connection of our own; it ends with the connection;
* anything else (a tracking server, another database): a lease, see `lease`.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from patchline.errors import UserError
from patchline.tracking.store import sqlite_file

WAIT_SECONDS = 60.0  # for a lock that a living process holds
POLL_SECONDS = 0.1
LEASE_SECONDS = 10.0  # a lease that does not change hands for so long belongs to nobody any more
BROKEN_KEPT_SECONDS = 3600.0  # a broken lease's name stays taken for so long
BROKEN = ".broken-"  # and the owner: the name of a lease that was broken
OWNER_TAG = "patchline.owner"


class LostError(Exception):
    """The lock is no longer ours: whoever holds it now must not be overwritten. Begin anew."""


Check = Callable[[], None]
"""To be called right before what the lock protects; raises `LostError`."""


@contextmanager
def held(client: Any, name: str) -> Iterator[Check]:
    """Hold the lock `name` of the registry that `client` speaks to. UserError when others hold it for too long."""
    import mlflow

    uri = str(mlflow.get_registry_uri())
    if uri.startswith("sqlite"):
        how = _file_lock(sqlite_file(uri), name)
    elif uri.startswith("postgres"):
        how = _advisory_lock(uri, name)
    else:
        how = lease(client, name)
    with how as check:
        yield check


@contextmanager
def _file_lock(database: Path, name: str) -> Iterator[Check]:
    path = database.with_name(f"{database.name}.{name}.lock")  # stays: a file that is deleted could be locked twice
    with path.open("a") as stream:
        for _ in _turns(name):
            with suppress(BlockingIOError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        yield lambda: None


@contextmanager
def _advisory_lock(uri: str, name: str) -> Iterator[Check]:
    """A transaction's advisory lock, for this kind also holds behind a pool of connections (pgbouncer)."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    number = int.from_bytes(hashlib.sha256(f"patchline promote {name}".encode()).digest()[:8], "big", signed=True)
    engine = create_engine(uri, poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        for _ in _turns(name):
            if connection.execute(text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": number}).scalar():
                break

        def check() -> None:
            connection.execute(text("SELECT 1"))  # fails where the connection, and the lock with it, is gone

        yield check


@contextmanager
def lease(client: Any, name: str) -> Iterator[Check]:
    """Mutual exclusion by the name of a registered model, which is unique on every kind of store.

    Its tag says whose it is. A lease is held for fractions of a second; one whose owner has not changed for
    LEASE_SECONDS on the clock of the process that waits belongs to a process that was killed. It is broken by renaming
    it after its owner: of several processes that wait only one can, because that name is unique, too. An owner that
    comes to its write later than half that time gives the lease up (`LostError`). What is left: an owner that is
    stopped between this check and its write, for longer than the other half.
    """
    model, me, taken = f"{name}.promoting", uuid.uuid4().hex, 0.0
    owner, since = None, time.monotonic()
    for _ in _turns(name):
        taken = time.monotonic()
        if (created := _created(client, model, me)) is not None:
            _sweep(client, model, created)
            break
        now = _owner(client, model)
        if now != owner:
            owner, since = now, time.monotonic()
        elif owner is not None and time.monotonic() - since > LEASE_SECONDS:
            _break(client, model, owner)

    def check() -> None:
        if _owner(client, model) != me or time.monotonic() - taken > LEASE_SECONDS / 2:
            raise LostError

    try:
        yield check
    finally:
        with suppress(LostError):  # then it is another's, or about to be
            check()
            client.delete_registered_model(model)


def _turns(name: str) -> Iterator[None]:
    """As often as a lock may be tried; UserError when the time is up."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(POLL_SECONDS)
    raise UserError(
        f"other promotions of {name} held the lock for {WAIT_SECONDS:.0f} s, and they are alive (the lock of one that "
        "is killed is released): try again",
        exit_code=3,
    )


def _created(client: Any, model: str, me: str) -> int | None:
    """When the lease was made, by the server's clock (ms); None where somebody has it."""
    from mlflow import MlflowException

    try:
        made = client.create_registered_model(
            model, tags={OWNER_TAG: me}, description="Held while `patchline promote` decides; gone in a moment."
        )
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            return None
        raise
    return int(made.creation_timestamp)


def _owner(client: Any, model: str) -> str | None:
    """Whose the lease is: "" for one without a tag, as earlier versions left them; None where there is none."""
    from mlflow import MlflowException

    try:
        return str(client.get_registered_model(model).tags.get(OWNER_TAG, ""))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _break(client: Any, model: str, owner: str) -> None:
    """Take the lease out of the way of everybody, once."""
    from mlflow import MlflowException

    try:
        client.rename_registered_model(model, f"{model}{BROKEN}{owner or 'unknown'}")
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise


def _sweep(client: Any, model: str, now: int) -> None:
    """Delete what broken leases left, long after anybody can still want to break the same ones."""
    for found in client.search_registered_models(f"name LIKE '{model}{BROKEN}%'"):
        if now - found.last_updated_timestamp > 1000 * BROKEN_KEPT_SECONDS:
            client.delete_registered_model(found.name)
