"""`patchline report`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from patchline.tracking.results import Results


def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")] = Path("build/report.html"),
    summary: Annotated[bool, typer.Option("--summary", help="Print Markdown for a CI job instead.")] = False,
    base: Annotated[
        str | None, typer.Option(help="With --summary: compare the metrics with this git revision.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only judge: exit code 1 when a constraint is broken.")
    ] = False,
) -> None:
    """Write the report of this pipeline state: one HTML file that needs no network."""
    from patchline.tracking import state
    from patchline.tracking.results import load_results

    root = state.work_root()
    results = load_results(root)
    if check:
        _check(results)
    elif summary:
        from patchline.tracking.job_summary import job_summary

        print(job_summary(results, base))
    else:
        _write(root, results, output)


def _check(results: Results) -> None:
    from patchline.tracking.report import amount

    broken = [(r, c) for r in results.targets for c in r.constraints if not c.holds]
    for r, c in broken:
        print(f"{r.name}: {c.label} is {amount(c.value, c.unit)}, allowed is {amount(c.limit, c.unit)}")
    if broken:
        raise typer.Exit(1)
    print("every constraint holds")


def _write(root: Path, results: Results, output: Path) -> None:
    from patchline.files import write_text
    from patchline.tracking import registry, report, state
    from patchline.tracking.store import connect, exclusive, store_of

    store, champions = store_of(root), {}
    if store.exists:
        with exclusive(store):
            champions = registry.champions(connect(store), results)
    commit, identity = state.git(root, "rev-parse", "HEAD"), state.pipeline_state(root)
    write_text(output, report.render_report(results, champions, commit, identity))
    print(f"wrote {output}")
