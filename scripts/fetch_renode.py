"""Fetch Renode's portable release into .renode/, where `patchline bench` finds it; version and checksum are pinned.

    python3 scripts/fetch_renode.py [--archive FILE]

`--archive` takes an archive that was fetched elsewhere. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

VERSION = "1.16.1"
RELEASE = f"https://github.com/renode/renode/releases/download/v{VERSION}"
ARCHIVES = {
    "x86_64": f"renode-{VERSION}.linux-portable-dotnet.tar.gz",
    "aarch64": f"renode-{VERSION}.linux-arm64-portable-dotnet.tar.gz",
}
CHECKSUMS = Path(__file__).with_name("renode.sha256")
FOLDER = Path(".renode")
CHUNK = 1 << 20


class FetchError(Exception):
    """Something the user can mend; the text says how."""


def archive_name() -> str:
    """Name of the release's archive for this machine."""
    name = ARCHIVES.get(platform.machine())
    if name is None or sys.platform != "linux":
        raise FetchError(
            f"there is no pinned archive for {sys.platform} on {platform.machine()}: install Renode {VERSION} yourself "
            "and put it on PATH, or name its program in $RENODE"
        )
    return name


def expected_checksum(name: str, checksums: Path = CHECKSUMS) -> str:
    """The committed SHA-256 of the archive `name`."""
    for line in checksums.read_text(encoding="utf-8").splitlines():
        digest, _, of = line.partition("  ")
        if of.strip() == name:
            return digest
    raise FetchError(f"{checksums} holds no checksum of {name}")


def check(archive: Path, name: str, checksums: Path = CHECKSUMS) -> None:
    """Raises FetchError unless the archive has the committed checksum."""
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = expected_checksum(name, checksums)
    if found != expected:
        raise FetchError(
            f"{name} has the SHA-256 {found}, but {expected} is expected: the download is damaged or not the release "
            f"that {checksums.name} means; nothing was installed"
        )


def download(url: str, to: Path) -> None:
    """Fetch `url` and show how far it is."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response, to.open("wb") as out:
            total = int(response.headers.get("Content-Length") or 0)
            done, shown = 0, 0.0
            while chunk := response.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if time.monotonic() - shown > 2:
                    shown = time.monotonic()
                    share = f" ({done / total:.0%})" if total else ""
                    print(f"{done >> 20} MB{share}", file=sys.stderr, flush=True)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise FetchError(
            f"cannot fetch {url}: {error}. Without a network: fetch the archive elsewhere and run "
            "`python3 scripts/fetch_renode.py --archive FILE`"
        ) from None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the archive without its top folder into `folder` (replaced); returns the program."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".renode-") as name:
        temporary = Path(name)
        # Debian 12's Python knows no filters yet; the archive is the one whose checksum is pinned
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, **safely)
        tops = list(temporary.iterdir())
        if len(tops) != 1 or not (tops[0] / "renode").exists():
            raise FetchError(f"{archive} does not hold one folder with the program renode in it")
        shutil.rmtree(folder, ignore_errors=True)
        tops[0].rename(folder)
    return folder / "renode"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=f"Install Renode {VERSION} into {FOLDER}/")
    parser.add_argument("--archive", type=Path, help="an archive of this release that is here already")
    given = parser.parse_args(arguments).archive
    try:
        name = archive_name()
        with tempfile.TemporaryDirectory() as folder:
            archive = given or Path(folder) / name
            if given is None:
                download(f"{RELEASE}/{name}", archive)
            elif not given.is_file():
                raise FetchError(f"{given} does not exist")
            check(archive, name)
            program = unpack(archive, FOLDER)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Renode {VERSION} is in {program.parent}/; `patchline bench` uses it from now on")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
