"""Several processes as one: what training needs of torch.distributed, and its trivial form for a single process."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from patchline.errors import UserError

RENDEZVOUS, RANK, COUNT = (f"PATCHLINE_TRAINING_{name}" for name in ("MEETS_AT", "RANK", "COUNT"))
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Workers:
    """This process among `count`; rank 0 writes files and reports."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient by its average over all processes (one exchange for all parameters)."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        position = 0
        for parameter in parameters:
            part = flat[position : position + parameter.numel()]
            parameter.grad = part.reshape(parameter.shape).clone()
            position += parameter.numel()

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def joined_workers(processes: int = 1) -> Iterator[Workers]:
    """This process as one of several that train together (gloo).

    Under torchrun it joins those that torchrun started. Otherwise it leads, and starts the others itself with its own
    command line; they end when it ends, however that comes about. The cores are divided among them, which serves small
    batches better than several threads do. Raises UserError where one of the others failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("gloo")
        yield from _joined()
    elif RENDEZVOUS in os.environ:
        _end_with_parent()
        _join(os.environ[RENDEZVOUS], int(os.environ[RANK]), int(os.environ[COUNT]))
        yield from _joined()
    elif processes == 1:
        yield Workers()
    else:
        with _started(processes) as meeting_point:
            _join(meeting_point, 0, processes)
            yield from _joined()


def _joined() -> Iterator[Workers]:
    try:
        yield Workers(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _join(meeting_point: str, rank: int, count: int) -> None:
    """Meet the other processes of this machine, and leave them their share of the cores."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // count))
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=count)


@contextmanager
def _started(count: int) -> Iterator[str]:
    """`count` - 1 more processes of this command; yields where they meet."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        meeting_point, errors = f"{folder}/rendezvous", Path(folder) / "errors.txt"
        others = []
        for rank in range(1, count):
            environment = {**os.environ, RENDEZVOUS: meeting_point, RANK: str(rank), COUNT: str(count)}
            with errors.open("ab") as log:
                others.append(
                    subprocess.Popen(
                        [sys.executable, *sys.argv], env=environment, stdout=subprocess.DEVNULL, stderr=log
                    )
                )
        try:
            yield meeting_point
        except RuntimeError:  # of gloo: a partner is gone
            if not any(_failed(process) for process in others):
                raise
            said = errors.read_text(errors="replace").strip().splitlines() or ["nothing; was it killed for memory?"]
            raise UserError(f"another process of the training failed; it said: {said[-1]}") from None
        finally:
            for process in others:
                process.kill()
                process.wait()
            torch.set_num_threads(threads)


def _failed(process: subprocess.Popen[bytes]) -> bool:
    """It ended, or is about to end, with an error."""
    try:
        return process.wait(timeout=5) != 0
    except subprocess.TimeoutExpired:
        return False


def _end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
