"""`patchline summary`"""

from __future__ import annotations

from typing import Annotated

import typer


def command(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show the results of the pipeline per board (`patchline track` says how to open them in the MLflow UI)."""
    import json
    from pathlib import Path

    from patchline import summary
    from patchline.config import load_params

    results = summary.collect(Path(), load_params())
    if as_json:
        print(json.dumps(results, indent=2))
        return

    from rich.console import Console

    console = Console()
    console.print(summary.table(results))
    for line in summary.remarks(Path(), results):
        console.print(line, soft_wrap=True, highlight=False)
