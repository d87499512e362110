"""`patchline doctor`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from patchline.doctor import Check


def command(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show what is installed, what is missing and the command that mends it; exit code 1 when a need is missing."""
    import dataclasses
    import json

    from patchline import doctor

    checks = doctor.examine()
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        _show(checks)
    if doctor.missing(checks):
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from patchline import doctor

    table = Table(box=None, pad_edge=False)
    for title in ("", "what", "found", "for"):
        table.add_column(title, overflow="fold")
    for check in checks:
        state, style = ("ok", "green") if check.found else ("missing", "red") if check.required else ("none", "yellow")
        found = check.found or ("" if check.required else "(optional)")
        table.add_row(Text(state, style), check.name, Text(found), Text(check.purpose))
    console = Console()
    console.print(table)
    for title, lacking in (
        ("To mend:", doctor.missing(checks)),
        ("Optional:", [check for check in checks if check.found is None and not check.required]),
    ):
        if lacking:
            console.print(f"\n{title}")
        for check in lacking:
            console.print(f"  {check.name}: [bold]{check.remedy}[/bold]", soft_wrap=True, highlight=False)
    if not doctor.missing(checks):
        console.print("\nEverything that is needed is here.")
