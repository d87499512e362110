"""`patchline fetch-data`"""

from pathlib import Path
from typing import Annotated

import typer

_MESSAGES = {
    "present": "{folder} is as {folder}.dvc pins it ({hash})",
    "dvc": "{folder} restored by DVC ({hash})",
    "package": "{folder} laid down and checked against {folder}.dvc ({hash})",
    "own": "nothing to fetch: data.source is folder, the photos in {folder} are your own",
}


def command(
    package: Annotated[
        Path | None, typer.Option("--from", help="Folder with the four IDX files, instead of the Debian package's.")
    ] = None,
) -> None:
    """Lay down the raw data and check them against the committed hash."""
    from patchline.config import check_complete, load_params
    from patchline.data import raw

    check_complete()  # the first command of every run: DVC's own message names one key and no value
    done = raw.fetch(load_params().data, package or raw.PACKAGE_FOLDER)
    print(_MESSAGES[done.origin].format(folder=done.folder, hash=done.hash))
