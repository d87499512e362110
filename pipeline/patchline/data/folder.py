"""Source `folder`: a user's own photos, one sub-folder per class, JPEG or PNG.

A file's split follows from the SHA-256 of its content, so that it stays the same when files are added or renamed, and
copies of a photo can never stand in two splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from patchline.config import Counts, DataParams
from patchline.data.pixels import eight_bit
from patchline.data.prepared import SPLITS, Prepared, Split
from patchline.errors import UserError
from patchline.progress import track

SUFFIXES = (".jpg", ".jpeg", ".png")
NAMES_SHOWN = 20


@dataclass(frozen=True)
class _Photo:
    path: Path
    label: int
    split: str
    pixels: NDArray[np.uint8]


def prepare(params: DataParams, seed: int) -> Prepared:
    """All photos below `params.folder`; `params.counts` gives the proportions of the splits.

    Raises UserError for unreadable files (unless `skip_corrupt`), for a class with too few photos, for the same photo
    in two classes and for a class that is missing in a split. `seed` is not used: the content decides.
    """
    folder = Path(params.folder)
    classes = _classes(folder)
    photos: list[_Photo] = []
    corrupt: list[str] = []
    owner: dict[str, _Photo] = {}
    duplicates = 0
    found = [(path, label) for label, name in enumerate(classes) for path in _files(folder / name)]
    for path, label in track(found, "read photos"):
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        twin = owner.get(digest)
        if twin is not None and twin.label != label:
            raise UserError(f"{path} and {twin.path} are the same photo in two classes: delete one of them")
        if twin is not None:
            duplicates += 1
            continue
        pixels = read_photo(path, params.resolution)
        if pixels is None:
            corrupt.append(str(path.relative_to(folder)))
            continue
        owner[digest] = _Photo(path, label, split_of(digest, params.counts), pixels)
        photos.append(owner[digest])
    if corrupt and not params.skip_corrupt:
        raise UserError(_corrupt_message(folder, corrupt))
    _check_counts(photos, classes, params, folder)
    return Prepared(
        name=folder.name,
        classes=classes,
        splits=_splits(photos),
        licence="the user's own photos",
        description=f"Photos from the class folders of {params.folder}.",
        skipped=tuple(corrupt),
        duplicates=duplicates,
    )


def photos_per_class(folder: Path) -> dict[str, int]:
    """Class -> number of its photo files, whether they can be read or not. Raises UserError for fewer than two."""
    return {name: len(_files(folder / name)) for name in _classes(folder)}


def split_of(digest: str, counts: Counts) -> str:
    """The split of a file with this SHA-256 digest (hexadecimal), in the proportions of `counts`."""
    total = counts.train + counts.val + counts.test
    place = int(digest[:15], 16) * total >> 60
    if place < counts.train:
        return "train"
    return "val" if place < counts.train + counts.val else "test"


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is not a folder; the photos' folder must hold one sub-folder per class")
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise UserError(
            f"{folder} holds {len(names)} class folders, at least two are needed: "
            "one sub-folder per class, its name is the name of the class"
        )
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def read_photo(path: Path, resolution: int) -> NDArray[np.uint8] | None:
    """The photo [resolution, resolution, 3], upright, cut to its centre square; None when it cannot be read."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            upright = eight_bit(ImageOps.exif_transpose(image)).convert("RGB")
            square = ImageOps.fit(upright, (resolution, resolution), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return None
    return np.asarray(square, dtype=np.uint8)


def _corrupt_message(folder: Path, corrupt: list[str]) -> str:
    shown = [f"  {name}" for name in corrupt[:NAMES_SHOWN]]
    if len(corrupt) > NAMES_SHOWN:
        shown.append(f"  and {len(corrupt) - NAMES_SHOWN} more")
    count = "1 file cannot" if len(corrupt) == 1 else f"{len(corrupt)} files cannot"
    head = f"{count} be read as JPEG or PNG in {folder}:"
    return "\n".join([head, *shown, "Mend or delete them, or set data.skip_corrupt: true to leave them out."])


def _check_counts(photos: list[_Photo], classes: tuple[str, ...], params: DataParams, folder: Path) -> None:
    for label, name in enumerate(classes):
        own = [photo.split for photo in photos if photo.label == label]
        if len(own) < params.min_images_per_class:
            raise UserError(
                f"class {name!r} in {folder} has {len(own)} different readable photos, "
                f"data.min_images_per_class asks for {params.min_images_per_class}: add photos or lower it"
            )
        for split in SPLITS:
            if split not in own:
                raise UserError(
                    f"class {name!r} in {folder} has no photo in the {split} split ({len(own)} in all): "
                    f"add photos, or raise data.counts.{split} against the other counts"
                )


def _splits(photos: list[_Photo]) -> Mapping[str, Split]:
    result = {}
    for name in SPLITS:
        own = [photo for photo in photos if photo.split == name]
        images = np.stack([photo.pixels for photo in own])
        result[name] = Split(images, np.array([photo.label for photo in own], dtype=np.int64))
    return result
