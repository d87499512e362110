"""Two promotions at once never both win, and one that is killed holds nobody up."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST

from patchline.errors import UserError
from patchline.tracking import lock, promote, runs
from patchline.tracking.store import connect, store_of

MODEL = "patchline-scenes-stm32f412"

POSTGRES = Path("/usr/lib/postgresql")

RACER = """
import sys, time
from pathlib import Path
from mlflow import MlflowClient
from patchline.tracking import lock
from patchline.tracking.promote import promote
if sys.argv[2] == "lease":
    lock.held = lock.lease
move = MlflowClient.set_registered_model_alias
def slowly(*args):
    time.sleep(1.5)  # between the verdict and the move: where the other process would get in
    move(*args)
MlflowClient.set_registered_model_alias = slowly
for decision in promote(Path(sys.argv[1])):
    print(decision.moved, decision.reason)
"""

HOLDER = """
import sys, time
from pathlib import Path
from patchline.tracking import lock
from patchline.tracking.store import connect, store_of
client = connect(store_of(Path(sys.argv[1])))
how = lock.lease if sys.argv[2] == "lease" else lock.held
with how(client, sys.argv[3]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def killed() -> Iterator[Callable[..., None]]:
    """Has a process take the lock of a project's model, and kills it while it holds it."""

    def kill(root: Path, kind: str, *, dead: bool = True) -> None:
        processes.append(
            subprocess.Popen([sys.executable, "-c", HOLDER, str(root), kind, MODEL], stdout=subprocess.PIPE, text=True)
        )
        assert processes[-1].stdout is not None and processes[-1].stdout.readline() == "held\n"
        if dead:
            processes[-1].kill()
            processes[-1].wait()

    processes: list[subprocess.Popen[str]] = []
    yield kill
    for process in processes:
        process.kill()
        process.communicate()


def champion(root: Path) -> str:
    return str(connect(store_of(root)).get_registered_model(MODEL).aliases["champion"])


def test_a_killed_promotion_holds_nobody_up(tracked: Path, killed: Callable[..., None], monkeypatch: Any) -> None:
    killed(tracked, "file")
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.5)  # at once: not after some time-out
    assert all(decision.moved for decision in promote.promote(tracked))


def test_a_living_one_is_waited_for_and_then_named(
    tracked: Path, killed: Callable[..., None], monkeypatch: Any
) -> None:
    killed(tracked, "file", dead=False)
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.5)
    with pytest.raises(UserError, match=f"other promotions of {MODEL} .* alive .* try again"):
        promote.promote(tracked)


@pytest.mark.parametrize("kind", ["file", pytest.param("lease", marks=pytest.mark.slow)])
def test_two_processes_that_race_leave_the_better_champion(
    tracked: Path, change: Any, tmp_path: Path, kind: str
) -> None:
    """Two CI jobs with a checkout each and one store: whatever the order, the worse model never replaces the better."""
    other = tmp_path / "other"
    shutil.copytree(tracked, other)
    change(tracked, targets=("stm32f412",), accuracy=0.95)
    runs.track(tracked)
    uri = store_of(tracked).uri
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(root), kind],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for root in (other, tracked)
        ]
    outputs = [p.communicate(timeout=180)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert champion(tracked) == "2", outputs


@dataclass
class Registry:
    """The part of a model registry that a lease needs, with the guarantees of every store: names are unique."""

    alias: int = 0
    models: dict[str, Any] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def create_registered_model(self, name: str, tags: dict[str, str], description: str) -> Any:
        with self.guard:
            if name in self.models:
                raise MlflowException("taken", RESOURCE_ALREADY_EXISTS)
            now = int(time.time() * 1000)
            self.models[name] = _Model(name, tags, now, now)
            return self.models[name]

    def get_registered_model(self, name: str) -> Any:
        with self.guard:
            if name not in self.models:
                raise MlflowException("none", RESOURCE_DOES_NOT_EXIST)
            return self.models[name]

    def rename_registered_model(self, name: str, new_name: str) -> None:
        with self.guard:
            if name not in self.models:
                raise MlflowException("none", RESOURCE_DOES_NOT_EXIST)
            if new_name in self.models:
                raise MlflowException("taken", RESOURCE_ALREADY_EXISTS)
            model = self.models.pop(name)
            self.models[new_name] = _Model(new_name, model.tags, model.creation_timestamp, int(time.time() * 1000))

    def delete_registered_model(self, name: str) -> None:
        with self.guard:
            del self.models[name]

    def search_registered_models(self, filter_string: str) -> list[Any]:
        prefix = filter_string.removeprefix("name LIKE '").removesuffix("%'")
        with self.guard:
            return [model for name, model in self.models.items() if name.startswith(prefix)]


@dataclass(frozen=True)
class _Model:
    name: str
    tags: dict[str, str]
    creation_timestamp: int
    last_updated_timestamp: int


def test_a_lease_of_the_dead_is_broken_once_and_never_held_twice(monkeypatch: Any) -> None:
    """Several that wait for a dead owner, then read, check and write as `promote` does: no write is lost."""
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.002)
    registry, wins = Registry(), []
    registry.create_registered_model("m.promoting", {lock.OWNER_TAG: "dead"}, "")

    def work() -> None:
        for _ in range(5):
            with suppress(lock.LostError), lock.lease(registry, "m") as check:
                seen = registry.alias
                time.sleep(0.002)
                check()
                registry.alias = seen + 1
                wins.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.alias == len(wins) > 0
    assert list(registry.models) == ["m.promoting.broken-dead"]


def test_an_owner_that_comes_late_gives_the_lease_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(lock, "LEASE_SECONDS", 0.1)
    with pytest.raises(lock.LostError), lock.lease(Registry(), "m") as check:
        time.sleep(0.06)
        check()


def test_the_names_of_broken_leases_are_taken_away_after_an_hour() -> None:
    registry, now = Registry(), int(time.time() * 1000)
    for name, age in (("old", 3_700_000), ("young", 3_500_000)):
        name = f"m.promoting.broken-{name}"
        registry.models[name] = _Model(name, {}, 0, now - age)
    with lock.lease(registry, "m"):
        pass
    assert list(registry.models) == ["m.promoting.broken-young"]


def test_a_lease_on_a_real_store_is_broken(tracked: Path, killed: Callable[..., None], monkeypatch: Any) -> None:
    killed(tracked, "lease")
    client = connect(store_of(tracked))
    monkeypatch.setattr(lock, "held", lock.lease)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 1.0)
    assert client.get_registered_model(f"{MODEL}.promoting").tags[lock.OWNER_TAG]
    assert all(decision.moved for decision in promote.promote(tracked))
    names = [m.name for m in client.search_registered_models(f"name LIKE '{MODEL}.promoting%'")]
    assert len(names) == 1 and ".broken-" in names[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server on a store of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"),
        *("--artifacts-destination", str(tmp_path / "served")),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with suppress(OSError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        assert process.poll() is None
        time.sleep(0.2)
    raise AssertionError("the server does not answer")


@pytest.mark.slow  # a server
def test_a_killed_promotion_through_a_server_ends_with_its_lease(
    project: Path, server: str, killed: Callable[..., None], monkeypatch: Any
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    runs.track(project)
    killed(project, "lock")
    begin = time.monotonic()
    assert all(decision.moved for decision in promote.promote(project))
    assert time.monotonic() - begin > lock.LEASE_SECONDS
    assert champion(project) == "1"


@pytest.mark.slow  # a database server
@pytest.mark.skipif(find_spec("psycopg") is None, reason="psycopg is not installed (patchline[postgres])")
@pytest.mark.skipif(not list(POSTGRES.glob("*/bin/initdb")), reason="PostgreSQL is not installed")
def test_a_killed_promotion_on_postgresql_ends_with_its_connection(
    tmp_path: Path, project: Path, killed: Callable[..., None], monkeypatch: Any
) -> None:
    with _postgres() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        runs.track(project)
        killed(project, "lock")
        monkeypatch.setattr(lock, "WAIT_SECONDS", 5.0)
        assert all(decision.moved for decision in promote.promote(project))
        killed(project, "lock", dead=False)
        with pytest.raises(UserError, match="try again"), lock.held(connect(store_of(project)), MODEL):
            pass


@contextmanager
def _postgres() -> Iterator[str]:
    """A cluster of its own, reached by a socket in a folder; run by an ordinary user, for it refuses root."""
    binaries = max(POSTGRES.glob("*/bin"))
    as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        subprocess.run(
            [*as_user, binaries / "initdb", "-A", "trust", "-U", "me", "-D", folder / "data"],
            check=True, capture_output=True,
        )  # fmt: skip
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        control = [*as_user, binaries / "pg_ctl", "-D", folder / "data", "-w"]
        subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], check=True, capture_output=True)
        try:
            yield f"postgresql://me@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
