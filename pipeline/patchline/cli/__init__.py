"""The `patchline` command. Each file of this folder is one command; adding a file adds the command.

A module `some_name.py` exposes a function `command` (its typer options are the signature, its docstring the help) and
becomes `patchline some-name`; a module with sub-commands exposes a `typer.Typer` named `app` instead. Only typer and
the standard library are imported at the top of these modules, so that `--help` stays fast.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

# As a module: importing the command `report` would replace a function of that name here.
from patchline import errors

# The order in which a user meets the commands; commands not named here follow by name.
ORDER = ("doctor", "fetch-data", "plan", "compile", "bench", "track", "report", "summary", "promote", "init")


def command_names() -> list[str]:
    """Names of the commands that exist, in the order shown by `--help`."""
    files = Path(__file__).parent.glob("*.py")
    names = {path.stem.replace("_", "-") for path in files if not path.stem.startswith("_")}
    return [name for name in ORDER if name in names] + sorted(names.difference(ORDER))


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is used, and turns a UserError into a message and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return command_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in command_names():
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        app = getattr(module, "app", None)
        if app is None:
            app = typer.Typer(add_completion=False)
            app.command(name=cmd_name)(module.command)
        found = typer.main.get_command(app)
        found.name = cmd_name
        return found

    def invoke(self, ctx: Any) -> Any:
        try:
            with errors.missing_extras():
                return super().invoke(ctx)
        except errors.UserError as error:
            raise typer.Exit(errors.report(error)) from None


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From images to a verified microcontroller firmware, as one reproducible pipeline.",
)


@app.callback()
def _root() -> None:
    """From images to a verified microcontroller firmware, as one reproducible pipeline."""


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="patchline", args=sys.argv[1:])
