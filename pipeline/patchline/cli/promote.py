"""`patchline promote`"""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Make this pipeline state's models the champions where they earned it; exit code 1 when one is refused."""
    import dataclasses
    import json

    from patchline.tracking.promote import promote
    from patchline.tracking.state import work_root

    decisions = promote(work_root(), dry_run=dry_run)
    if as_json:
        print(json.dumps([dataclasses.asdict(d) for d in decisions], indent=2))
    else:
        for d in decisions:
            verb = ("would become" if dry_run else "is now") if d.moved else "stays" if d.accepted else "is not"
            print(f"{d.target}: version {d.version} of {d.model} {verb} champion: {d.reason}")
    if not all(d.accepted for d in decisions):
        raise typer.Exit(1)
