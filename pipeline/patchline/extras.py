"""Which packages are installed, and which extra of Patchline brings those that are not. Standard library only."""

from __future__ import annotations

import importlib.metadata
import re

PIPELINE = "pipeline"  # what `dvc repro` and MLflow need


def requirements(extra: str | None = None) -> list[str]:
    """Names of the packages that Patchline itself (None) or one of its extras asks for."""
    found = []
    for line in importlib.metadata.requires("patchline") or []:
        named = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
        if (named[1] if named else None) == extra:
            found.append(re.split(r"[ ;<>=!~\[(]", line, maxsplit=1)[0])
    return found


def advice(error: ModuleNotFoundError) -> str | None:
    """How to mend an import that failed; None where it is no package of an extra, and so a fault of the program."""
    package = (error.name or "").partition(".")[0]
    if package in requirements(PIPELINE):
        return f"this needs the package {package}: python -m pip install 'patchline[{PIPELINE}]'"
    return None
