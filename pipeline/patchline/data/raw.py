"""Lays down the raw data that a `.dvc` file pins, and makes DVC know them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from patchline.config import DataParams
from patchline.data import fashion_mnist
from patchline.errors import UserError
from patchline.files import hash_file, read_yaml

PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Fetched:
    """What `fetch` did: `origin` is "present", "dvc" (cache or remote), "package" or "own" (nothing to fetch)."""

    folder: Path
    origin: str
    hash: str | None = None


def fetch(params: DataParams, package: Path = PACKAGE_FOLDER) -> Fetched:
    """Make `params.folder` hold what its `.dvc` file pins: as it is, from DVC's cache or remote, or from `package`.

    Raises UserError when the content on offer has another hash (the message names both) or nothing is on offer.
    """
    folder = Path(params.folder)
    if params.source == "folder":
        return Fetched(folder, "own")
    wanted = pinned_hash(folder)
    if folder.is_dir() and any(folder.iterdir()):
        found = folder_hash(folder)
        if found != wanted:
            raise UserError(
                f"{folder} has the hash {found}, but {folder}.dvc pins {wanted}.\n"
                f"Move {folder} away and run `patchline fetch-data` for the pinned data, "
                f"or `dvc add {folder}` to pin what lies there"
            )
        origin = "present"
    elif _dvc("pull", "--quiet", f"{folder}.dvc").returncode == 0:
        return Fetched(folder, "dvc", wanted)
    else:
        _copy(package, folder, wanted)
        origin = "package"
    # A clean clone is "not in cache" for DVC, and so stale, until the files are committed to its cache.
    committed = _dvc("commit", "--quiet", f"{folder}.dvc")
    if committed.returncode != 0:
        raise UserError(f"`dvc commit {folder}.dvc` failed:\n{committed.stderr.strip()}")
    return Fetched(folder, origin, wanted)


def pinned_hash(folder: Path) -> str:
    """The hash in `<folder>.dvc`. Raises UserError when that file is missing or says nothing."""
    path = Path(f"{folder}.dvc")
    try:
        return str(read_yaml(path)["outs"][0]["md5"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing: restore it with `git checkout {path}`") from None
    except (UserError, KeyError, IndexError, TypeError):
        raise UserError(f"{path} names no hash: restore it with `git checkout {path}`") from None


def folder_hash(folder: Path, names: tuple[str, ...] | None = None) -> str:
    """DVC's hash of a folder, or of the files `names` in it: MD5 of the sorted list of paths and their MD5s."""
    paths = sorted(folder.rglob("*")) if names is None else [folder / name for name in sorted(names)]
    entries = [
        {"md5": hash_file(path, "md5"), "relpath": path.relative_to(folder).as_posix()}
        for path in paths
        if path.is_file()
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _copy(package: Path, folder: Path, wanted: str) -> None:
    missing = [name for name in fashion_mnist.FILES if not (package / name).is_file()]
    if missing:
        raise UserError(
            f"Fashion-MNIST is not on this machine: {package} lacks {', '.join(missing)}.\n"
            f"Install it with `sudo apt-get install {PACKAGE}`, "
            "or name a folder that holds the four files with `patchline fetch-data --from FOLDER`"
        )
    found = folder_hash(package, fashion_mnist.FILES)
    if found != wanted:
        raise UserError(
            f"{package} ({_package_version()}) has the hash {found}, but {folder}.dvc pins {wanted}.\n"
            f"Install the version that was pinned, or pin this one: copy its files to {folder} "
            f"and run `dvc add {folder}`"
        )
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in fashion_mnist.FILES:
        shutil.copyfile(package / name, temporary / name)
    if folder.is_dir():
        folder.rmdir()
    temporary.rename(folder)


def _package_version() -> str:
    try:
        query = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Version}", PACKAGE], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return f"not from the package {PACKAGE}"
    return f"{PACKAGE} {query.stdout}"


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
