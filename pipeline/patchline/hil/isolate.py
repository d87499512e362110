"""Runs generators in processes of their own and streams what they yield, with a limit on silence.

A firmware that crashes its emulator, or an emulator that hangs, ends as a typed `RunError` and never takes the caller
down. The other way round nothing outlives the caller, even where that is killed: the kernel ends the job's process and
with it the emulator that the job has started (Linux; elsewhere a job notices at its next word).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType, ModuleType
from typing import Any

from patchline.errors import UserError
from patchline.hil.outcome import RunError
from patchline.hil.process import STOP_TIMEOUT_S, die_with

END_TIMEOUT_S = STOP_TIMEOUT_S + 5  # a process that is told to end may have an emulator to stop

# A fresh interpreter: forking a process that runs threads (torch, BLAS) is not safe.
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Job:
    """`function(*args)` is a generator function, importable by name."""

    function: Callable[..., Iterator[Any]]
    args: tuple[Any, ...]


def stream(jobs: Sequence[Job], *, silence_s: float) -> Generator[Any, None, None]:
    """What the jobs yield, as it comes, all jobs at once. The first error ends all of them.

    Raises RunError: what a job raised, kind `timeout` when a job says nothing for `silence_s`, kind `crash` when its
    process dies.
    """
    running: dict[Connection, SpawnProcess] = {}
    try:
        for job in jobs:
            receiver, sender = _CONTEXT.Pipe(duplex=False)
            process = _CONTEXT.Process(target=_serve, args=(sender, job, os.getpid()), daemon=True)
            with _no_main_module():
                process.start()
            sender.close()
            running[receiver] = process
        while running:
            ready = wait(list(running), timeout=silence_s)
            if not ready:
                raise RunError("timeout", f"the emulator said nothing for {silence_s:g} s")
            for connection in ready:
                assert isinstance(connection, Connection)
                try:
                    kind, value = connection.recv()
                except EOFError:
                    process = running[connection]
                    process.join(timeout=END_TIMEOUT_S)
                    raise RunError("crash", f"exit code {process.exitcode}") from None
                if kind == "value":
                    yield value
                elif kind == "error":
                    raise value
                else:
                    running.pop(connection).join(timeout=END_TIMEOUT_S)
                    connection.close()
    finally:
        for process in running.values():
            process.terminate()
        for connection, process in running.items():
            process.join(timeout=END_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()
            connection.close()


def call(function: Callable[..., Iterator[Any]], *args: Any, timeout_s: float) -> list[Any]:
    """Everything that the generator `function(*args)` yields in a process of its own."""
    return list(stream([Job(function, args)], silence_s=timeout_s))


def unwind_on_sigterm() -> None:
    """For jobs with something to close: `stream` ends a process with SIGTERM, which by default runs no `finally`.

    Other jobs are better off without: a handler waits until a call into C code returns.
    """

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)  # nothing interrupts the closing
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def _no_main_module() -> Iterator[None]:
    """A new process imports the program's main module again. Jobs need nothing of it, and MLflow's takes seconds."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(sender: Connection, job: Job, parent: int) -> None:
    die_with(parent)
    try:
        values = job.function(*job.args)
        assert isinstance(values, Generator)
        with closing(values):
            for value in values:
                sender.send(("value", value))
        sender.send(("done", None))
    except UserError as error:
        sender.send(("error", error))
    except Exception as error:  # anything else is a defect: its text goes to the caller with the type
        sender.send(("error", RunError("crash", f"{type(error).__name__}: {error}")))
    finally:
        sender.close()
