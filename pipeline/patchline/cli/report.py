"""`patchline report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("build/report.html"),
) -> None:
    """Write the report of this pipeline state: one HTML file that needs no network."""
    from patchline.files import write_text
    from patchline.tracking import registry, report, state
    from patchline.tracking.results import load_results
    from patchline.tracking.store import connect, exclusive, store_of

    root = state.work_root()
    results = load_results(root)
    store, champions = store_of(root), {}
    if store.exists:
        with exclusive(store):
            champions = registry.champions(connect(store), results)
    commit, identity = state.git(root, "rev-parse", "HEAD"), state.pipeline_state(root)
    write_text(output, report.render_report(results, champions, commit, identity))
    print(f"wrote {output}")
