"""`patchline init`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="The root of a git repository.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist with other content.")] = False,
) -> None:
    """Bring the pipeline into another repository: dvc.yaml, params.yaml, stages, firmware template, CI workflow."""
    from patchline import adopt

    done = adopt.adopt(folder, force=force)
    for name in done.written:
        print(f"wrote {name}")
    if not done.written:
        print("everything is in place already")
    print(
        "\nNext: put your photos into data/raw/<class>/, then\n"
        "  dvc add data/raw\n"
        "  git add -A && git commit -m 'Add the Patchline pipeline'\n"
        "  dvc repro\n"
        "params.yaml holds the boards and the budgets."
    )
