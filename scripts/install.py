"""Install a lock file with pip and show how far it is; pip's own output appears only when it fails.

    .venv/bin/python scripts/install.py requirements.lock

pip compiles one file after the other, which is a third of its work: all cores do it afterwards. Standard library only:
this runs before anything is installed.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

LINES_SHOWN = 30


def main(lock: str) -> int:
    total = sum(1 for line in Path(lock).read_text().splitlines() if "==" in line)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-compile",
        "--progress-bar",
        "off",
        "-r",
        lock,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    start = printed = time.monotonic()
    while process.poll() is None:
        time.sleep(0.5)
        now = time.monotonic()
        if sys.stderr.isatty() or now - printed >= 10:
            printed = now
            show(share_done(lines, total), now - start)
    reader.join()
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    if process.returncode != 0:
        print("".join(lines[-LINES_SHOWN:]), file=sys.stderr)
        print("error: pip could not install requirements.lock; its last lines stand above", file=sys.stderr)
        return process.returncode
    # Some packages carry files that do not compile (templates, other versions of Python): no matter.
    compileall.compile_dir(sysconfig.get_path("purelib"), quiet=2, workers=0)
    return 0


def share_done(lines: list[str], total: int) -> float:
    """Half of the work is fetching a package, half is unpacking it."""
    fetched = sum(1 for line in list(lines) if line.startswith(("Collecting ", "Requirement already satisfied")))
    unpacked = sum(1 for _ in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))
    return min((min(fetched, total) + min(unpacked, total)) / (2 * total), 0.99)


def show(share: float, seconds: float) -> None:
    """One line, rewritten on a terminal."""
    left = f"about {seconds / share * (1 - share):.0f} s left" if share > 0.02 else ""
    text = f"Python packages: {share:4.0%}, {seconds:.0f} s, {left}"
    if sys.stderr.isatty():
        bar = "#" * round(30 * share)
        print(f"\r\x1b[K{text} [{bar:<30}]", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
