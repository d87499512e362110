"""Say which build of torch pip would install, and how much a CUDA build downloads, before it does.

    python scripts/torch_build.py requirements.lock

Standard library only: it runs before anything is installed. It never stops the installation.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 90


def main(lock: str) -> None:
    found = re.search(r"^torch==(\S+)", Path(lock).read_text(), re.MULTILINE)
    if found is None or installed() == found[1]:
        return
    alone = would_install(f"torch=={found[1]}", "--no-deps")
    needs = [need for item in alone for need in item["metadata"].get("requires_dist", [])]
    if not any(need.startswith(("nvidia-", "cuda-")) for need in needs):
        return
    print("== pip is configured to take the CUDA build of torch; Patchline needs only the CPU build.")
    print(f"== Download: {download_size(found[1])}. For the CPU build stop here (Ctrl-C), configure pip with")
    print("== the CPU wheel index that PyTorch's installation page names, and run this again.", flush=True)


def installed() -> str | None:
    """Version of torch in this environment, without its build tag."""
    try:
        return importlib.metadata.version("torch").partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def would_install(requirement: str, *options: str) -> list[dict[str, Any]]:
    """What pip's report says it would install for `requirement`; empty when it does not say in time."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    try:
        result = subprocess.run(
            [*command, *options, requirement], capture_output=True, text=True, timeout=SECONDS, check=True
        )
        return list(json.loads(result.stdout)["install"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []


def download_size(version: str) -> str:
    """Size of torch and of what comes with it, asked from the server that pip uses."""
    total = 0
    for item in would_install(f"torch=={version}"):
        try:
            request = urllib.request.Request(item["download_info"]["url"].partition("#")[0], method="HEAD")
            with urllib.request.urlopen(request, timeout=5) as answer:
                total += int(answer.headers["Content-Length"])
        except (OSError, TypeError, ValueError):
            return "several gigabytes (the server does not say exactly)"
    return f"{total / 1024**3:.1f} GB" if total else "several gigabytes"


if __name__ == "__main__":
    main(sys.argv[1])
