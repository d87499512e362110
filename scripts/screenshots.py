"""Pictures of the report and of MLflow's pages for the README, from the results that lie here: docs/images/*.png.

Needs chromium. A server is started on a free port and stopped again.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from patchline.errors import UserError, run_main
from patchline.files import write_text
from patchline.tracking import registry, report, runs, state
from patchline.tracking.results import load_results
from patchline.tracking.store import Store, connect

OUT = Path("docs/images")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise UserError("chromium is not installed: apt-get install chromium")
    root = state.work_root()
    tracked = runs.track(root)
    results = load_results(root)
    OUT.mkdir(parents=True, exist_ok=True)
    for result in results.targets:
        write_text(OUT / f"memory-{result.name}.svg", report.memory_picture(results, result))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        champions = registry.champions(connect(tracked.store), results)
        commit = state.git(root, "rev-parse", "HEAD")
        write_text(page, report.render_report(results, champions, commit, tracked.state))
        shoot(browser, page.as_uri(), OUT / "report.png", 900, 1500)
        shoot(browser, page.as_uri(), OUT / "report-phone.png", 500, 1500)
        with server(tracked.store) as store:
            pages = {
                "mlflow-runs.png": store.runs_link(tracked.experiment_id),
                "mlflow-run.png": store.run_link(tracked.experiment_id, tracked.run_id),
            }
            if len(tracked.siblings) > 1:
                pages["mlflow-compare.png"] = store.compare_link(tracked.experiment_id, list(tracked.siblings)[:3])
            for name, address in pages.items():
                shoot(browser, address, OUT / name, 1500, 1100, wait_ms=20_000)
    print("\n".join(str(path) for path in sorted(OUT.iterdir())))


def shoot(browser: str, address: str, path: Path, width: int, height: int, wait_ms: int = 0) -> None:
    """Photograph a page; `wait_ms` lets scripts and their requests finish."""
    with tempfile.TemporaryDirectory() as profile:
        wait = (f"--virtual-time-budget={wait_ms}",) if wait_ms else ()
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *wait]
        subprocess.run(
            [*command, f"--screenshot={path.resolve()}", address], check=True, capture_output=True, timeout=180
        )


@contextmanager
def server(store: Store) -> Iterator[Store]:
    """An MLflow server on the local store (none is started where a server is in use already); yields its address."""
    if not store.local:
        yield store
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store.uri]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await(address)
        yield Store(address, store.root)
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


def _await(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.5)
    raise UserError(f"the MLflow server at {address} did not answer within two minutes", exit_code=1)


if __name__ == "__main__":
    run_main(main)
