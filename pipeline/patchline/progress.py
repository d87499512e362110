"""Progress of a loop: a bar with the time left on a terminal, a plain line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

LOG_EVERY_SECONDS = 10.0

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from `iterable` and show how far it is, on stderr.

    `total` is needed for the time left when the iterable has no length.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from _bar(iterable, description, total)
    else:
        yield from _lines(iterable, description, total)


def _bar(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _lines(iterable: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    start = time.monotonic()
    printed = start
    for done, item in enumerate(iterable):
        now = time.monotonic()
        if now - printed >= LOG_EVERY_SECONDS:
            printed = now
            _print_line(description, done, total, now - start)
        yield item


def _print_line(description: str, done: int, total: int | None, elapsed: float) -> None:
    if total and done:
        left = elapsed / done * (total - done)
        text = f"{description}: {done} of {total}, {elapsed:.0f} s, about {left:.0f} s left"
    else:
        text = f"{description}: {done}, {elapsed:.0f} s"
    print(text, file=sys.stderr, flush=True)
