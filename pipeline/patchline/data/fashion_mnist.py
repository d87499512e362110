"""Fashion-MNIST (Zalando Research, MIT licence): the IDX files, and the data source `fashion-mnist`."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchline.config import DataParams
from patchline.data.prepared import Prepared, Split
from patchline.errors import UserError

CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
BAG = CLASSES.index("bag")
SIDE = 28  # pixels
LICENCE = "MIT (Fashion-MNIST, Copyright 2017 Zalando SE)"
FILES = (
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class Garments:
    """Grey images uint8 [N, 28, 28], background 0, with their class indices int64 [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, indices: NDArray[np.int64]) -> Garments:
        """The garments at `indices`."""
        return Garments(self.images[indices], self.labels[indices])


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in a gzipped IDX file of unsigned bytes. Raises UserError when it is missing or damaged."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `patchline fetch-data`, or set data.source in params.yaml") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise _damaged(path, "it is not an IDX file of bytes")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise _damaged(path, "its header is cut off")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) - header != int(np.prod(shape, dtype=np.int64)):
        raise _damaged(path, f"it announces the shape {shape} but holds {len(content) - header} bytes")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def read_garments(folder: Path, part: str) -> Garments:
    """All garments of `part` ("train": 60,000, "t10k": 10,000) from the IDX files in `folder`."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
        raise _damaged(folder, f"{part}: images {images.shape} and labels {labels.shape} do not belong together")
    return Garments(images, labels.astype(np.int64))


def prepare(params: DataParams, seed: int) -> Prepared:
    """Ten classes, grey copied to RGB, scaled by a whole factor where that fits and centred on black."""
    folder = Path(params.folder)
    train, test = read_garments(folder, "train"), read_garments(folder, "t10k")
    rng = np.random.default_rng([seed, 0])
    order = rng.permutation(len(train.labels))
    counts = params.counts
    chosen = {
        "train": train.take(order[: counts.train]),
        "val": train.take(order[counts.train : counts.train + counts.val]),
        "test": test.take(rng.permutation(len(test.labels))[: counts.test]),
    }
    return Prepared(
        name="fashion-mnist",
        classes=CLASSES,
        splits={name: Split(_to_rgb(part.images, params.resolution), part.labels) for name, part in chosen.items()},
        licence=LICENCE,
        description="Fashion-MNIST: grey photos of garments, copied to three channels, enlarged and padded with black.",
    )


def _to_rgb(images: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """[N, 28, 28] -> [N, resolution, resolution, 3]."""
    if resolution >= SIDE:
        factor = resolution // SIDE
        large = images.repeat(factor, axis=1).repeat(factor, axis=2)
    else:
        edges = np.arange(resolution) * SIDE // resolution
        spans = np.diff(np.append(edges, SIDE))
        sums = np.add.reduceat(np.add.reduceat(images.astype(np.int32), edges, axis=1), edges, axis=2)
        large = (sums // (spans[:, None] * spans)).astype(np.uint8)
    before = (resolution - large.shape[1]) // 2
    after = resolution - large.shape[1] - before
    padded = np.pad(large, ((0, 0), (before, after), (before, after)))
    return np.repeat(padded[..., None], 3, axis=3)


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged: {what}. Delete it and run `patchline fetch-data`")
