"""`patchline init`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="The root of a git repository.")] = Path(),
    photos: Annotated[
        Path | None, typer.Option(help="The folder with your photos, one sub-folder per class; default: data/raw.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist with other content.")] = False,
) -> None:
    """Bring the pipeline into another repository: dvc.yaml, params.yaml, stages, firmware template, CI workflow."""
    import shlex
    from collections import Counter

    from patchline import adopt

    done = adopt.adopt(folder, photos=photos, force=force)
    tops = Counter(name.split("/")[0] + "/" if "/" in name else name for name in done.written)
    for top, count in tops.items():
        print(f"wrote {top}" + (f" ({count} files)" if count > 1 else ""))
    if not done.written:
        print("everything is in place already")
    if done.classes:
        found = ", ".join(f"{name} ({count:,})" for name, count in done.classes.items())
        print(f"\n{done.photos} holds photos of {len(done.classes)} classes: {found}")
        first = "Next:"
    else:
        first = f"Next: put your photos into {done.photos}/<class>/, then"
    print(
        f"\n{first}\n"
        f"  dvc add {shlex.quote(done.photos)}\n"
        "  git add -A && git commit -m 'Add the Patchline pipeline'\n"
        "  dvc repro\n"
        "  patchline summary\n"
        "params.yaml holds the boards and the budgets."
    )
