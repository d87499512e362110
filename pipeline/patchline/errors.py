"""Errors that a user can act on, and the one place where they become a message and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can mend. The text says what happened, where, and what to do about it.

    It is printed as it stands, without a traceback, and the process ends with `exit_code` (2 unless told otherwise).
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def report(error: UserError) -> int:
    """Print `error` on stderr as one message; returns the exit code to end with."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    return error.exit_code


@contextmanager
def missing_extras() -> Iterator[None]:
    """A package that one of Patchline's extras would bring is a UserError, which names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        from patchline import extras

        if (message := extras.advice(error)) is None:
            raise
        raise UserError(message) from None


def run_main(main: Callable[..., None], *args: object) -> None:
    """Run a script's `main(*args)`; a UserError ends the process with its message and exit code."""
    try:
        with missing_extras():
            main(*args)
    except UserError as error:
        sys.exit(report(error))
    except KeyboardInterrupt:
        sys.exit(130)


def run_for_target(main: Callable[[str], None]) -> None:
    """Run a stage script's `main(target)` with the one argument of its command line."""
    if len(sys.argv) != 2:
        sys.exit(report(UserError(f"name one board: python {sys.argv[0]} stm32f412")))
    run_main(main, sys.argv[1])
