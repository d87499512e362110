"""What emulators in processes of their own have in common: a byte stream on a socket, a log, and a certain end."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from patchline.hil.outcome import RunError

STOP_TIMEOUT_S = 10.0  # after SIGTERM; then SIGKILL
LOG_TIMEOUT_S = 2.0  # for a dying emulator to finish its log

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Looked up here: between fork and exec little more than a system call is safe.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class ProcessBoard(ABC):
    """A `link.Link` to an emulator that runs as a child; subclasses start it and read its log.

    On Linux the kernel kills the child when the thread that started it ends, whatever ended that (`die_with`).
    """

    def __init__(self, name: str) -> None:
        """`name` is the emulator's, for messages."""
        self._name = name
        self._temporary = tempfile.TemporaryDirectory(prefix=f"patchline-{name.lower()}-")
        self._folder = Path(self._temporary.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._uart: socket.socket | None = None

    def write(self, data: bytes) -> None:
        assert self._uart is not None
        try:
            self._uart.sendall(data)
        except OSError as error:
            raise self._died(str(error)) from None

    def read(self, timeout_s: float) -> bytes:
        assert self._uart is not None
        self._uart.settimeout(max(timeout_s, 0.001))
        try:
            data = self._uart.recv(65536)
        except TimeoutError:
            return b""
        except OSError as error:
            raise self._died(str(error)) from None
        if not data:
            raise self._died("the UART closed")
        return data

    @abstractmethod
    def explain(self) -> RunError | None:
        """The fault that the emulator logged, if it logged one."""

    def close(self) -> None:
        """Stop the emulator, however far it has come, and remove its files. A second call does nothing."""
        if self._uart is not None:
            self._uart.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._temporary.cleanup()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Closes when the block fails or is interrupted: whoever gets no board cannot close it."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _start(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """Run `command` in the temporary folder, its output in the log. Its input is a pipe that stays open: at the end
        of input Renode's monitor would spin."""
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=partial(die_with, os.getpid()),
            )

    def _check_alive(self) -> None:
        """Raises RunError when the process has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise self._died(f"exit code {self._process.returncode}")

    def _text(self) -> str:
        """The log so far."""
        return (self._folder / "log").read_text(errors="replace")

    def _tail(self) -> str:
        return " / ".join(self._text().strip().splitlines()[-4:]) or "it said nothing"

    def _died(self, what: str) -> RunError:
        end = time.monotonic() + LOG_TIMEOUT_S
        while self._process is not None and self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.explain() or RunError("crash", f"{self._name} ended ({what}): {self._tail()}")


def die_with(parent: int) -> None:
    """From now on this process is killed (Linux) when the thread of process `parent` that started it ends."""
    if _PRCTL is None:
        return
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before this was said
        os._exit(1)
