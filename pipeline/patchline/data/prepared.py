"""The prepared format: `<split>.npz` with images and labels, `manifest.json`, and `boxes.npz` where boxes are known."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchline import files
from patchline.errors import UserError
from patchline.network.contract import InputContract, photos

SPLITS = ("train", "val", "test")
FOLDER = "data/prepared"
BOXES_FILE = "boxes.npz"

# Columns of a split's array in boxes.npz; pixels, the right and lower edges are exclusive.
BOX_COLUMNS = ("image", "class", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, 3] in RGB with their class indices int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Prepared:
    """A whole prepared data set in memory. `boxes` holds int32 [M, 6] per split in the order of BOX_COLUMNS."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    licence: str
    description: str
    composed: bool = False
    boxes: Mapping[str, NDArray[np.int32]] | None = None
    box_classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    duplicates: int = 0


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says about a prepared data set. Hashes are SHA-256 over a split's images and labels.

    `input` is the contract between whoever makes pictures like these and the firmware that will be given them.
    """

    name: str
    description: str
    licence: str
    composed: bool
    classes: tuple[str, ...]
    resolution: int
    input: InputContract
    counts: Mapping[str, int]
    class_counts: Mapping[str, Mapping[str, int]]
    hashes: Mapping[str, str]
    boxes: str | None = None
    box_columns: tuple[str, ...] = ()
    box_classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    duplicates: int = 0


def shuffled(data: Prepared, seed: int) -> Prepared:
    """`data` with the images of every split in an order that follows from their pixels and `seed` alone.

    A source lists its images as it finds them, photos by class: nothing behind it may meet them so. The names of
    classes and files move nothing, and an image that is added leaves the order of the others as it was.
    """
    order = {name: _order(split.images, seed) for name, split in data.splits.items()}
    splits = {name: Split(old.images[order[name]], old.labels[order[name]]) for name, old in data.splits.items()}
    boxes = data.boxes and {name: _moved(rows, order[name]) for name, rows in data.boxes.items()}
    return dataclasses.replace(data, splits=splits, boxes=boxes)


def write_prepared(data: Prepared, folder: str | Path = FOLDER) -> Manifest:
    """Write `data` into `folder`; equal data give equal bytes. Returns the manifest, which is written last."""
    folder = Path(folder)
    for name, split in data.splits.items():
        with files.replacing(folder / f"{name}.npz") as path:
            np.savez(path, images=split.images, labels=split.labels)
    if data.boxes is not None:
        with files.replacing(folder / BOXES_FILE) as path:
            np.savez(path, allow_pickle=False, **data.boxes)
    manifest = _manifest(data)
    files.write_json(folder / "manifest.json", dataclasses.asdict(manifest))
    return manifest


def load_split(name: str, folder: str | Path = FOLDER) -> Split:
    """The split `name` (train, val or test). Raises UserError when the data are not prepared yet."""
    path = Path(folder) / f"{name}.npz"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro prepare`")
    with np.load(path, allow_pickle=False) as arrays:
        return Split(arrays["images"], arrays["labels"])


def load_boxes(name: str, folder: str | Path = FOLDER) -> NDArray[np.int32]:
    """Boxes of the split `name`, int32 [M, 6] in the order of BOX_COLUMNS. Raises UserError when there are none."""
    path = Path(folder) / BOXES_FILE
    if not path.is_file():
        raise UserError(f"{path} is missing: this data source knows no boxes, or the data are not prepared yet")
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name], dtype=np.int32)


def load_manifest(folder: str | Path = FOLDER) -> Manifest:
    """The manifest of the prepared data. Raises UserError when the data are not prepared yet."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc repro prepare`")
    content: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in files.read_json(path).items()
    }
    contract = content.get("input")  # manifests of older versions have none
    content["input"] = InputContract.from_dict(contract) if contract else photos(content["resolution"])
    return Manifest(**content)


def _order(images: NDArray[np.uint8], seed: int) -> NDArray[np.int64]:
    salt = hashlib.sha256(str(seed).encode())

    def place(index: int) -> bytes:
        digest = salt.copy()
        digest.update(np.ascontiguousarray(images[index]).data)
        return digest.digest()

    return np.array(sorted(range(len(images)), key=place), dtype=np.int64)


def _moved(boxes: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rows of BOX_COLUMNS after image `order[i]` has become image i, again sorted by image."""
    place = np.argsort(order)
    moved = boxes.copy()
    moved[:, 0] = place[boxes[:, 0]]
    return moved[np.argsort(moved[:, 0], kind="stable")]


def _manifest(data: Prepared) -> Manifest:
    first = next(iter(data.splits.values()))
    return Manifest(
        name=data.name,
        description=data.description,
        licence=data.licence,
        composed=data.composed,
        classes=data.classes,
        resolution=first.images.shape[1],
        input=photos(first.images.shape[1]),
        counts={name: len(split.labels) for name, split in data.splits.items()},
        class_counts={name: _per_class(split, data.classes) for name, split in data.splits.items()},
        hashes={name: _hash(split) for name, split in data.splits.items()},
        boxes=BOXES_FILE if data.boxes is not None else None,
        box_columns=BOX_COLUMNS if data.boxes is not None else (),
        box_classes=data.box_classes,
        skipped=data.skipped,
        duplicates=data.duplicates,
    )


def _per_class(split: Split, classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(split.labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _hash(split: Split) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(split.images).data)
    digest.update(np.ascontiguousarray(split.labels).data)
    return digest.hexdigest()
