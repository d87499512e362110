"""Accuracy of candidates with the supernet's weights, kept on disk so that boards and later runs share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from patchline.data import Split
from patchline.files import read_json, write_json
from patchline.supernet import Architecture, Supernet, extract
from patchline.supernet.evaluate import accuracy, recalibrate
from patchline.supernet.extract import fold

FOLDER = Path(".patchline/accuracy")
SAVE_EVERY = 10  # new values


def key_of(arch: Architecture) -> str:
    """A short content hash of an architecture."""
    return hashlib.sha256(json.dumps(arch.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


class Judge:
    """Estimates accuracy on the validation split, after recalibrating on training images.

    Values are remembered in `folder`, in a file named by `identity`: hashes of the supernet and the data.
    """

    def __init__(
        self, supernet: Supernet, train: Split, val: Split, identity: Sequence[str], folder: Path = FOLDER
    ) -> None:
        self._supernet, self._train, self._val = supernet, train, val
        self._path = folder / f"{'-'.join(part[:12] for part in identity)}.json"
        self._known: dict[str, float] = read_json(self._path) if self._path.exists() else {}
        self._new = 0

    def accuracy(self, arch: Architecture, recalibration_images: int, images: int) -> float:
        """Accuracy of `arch` on the first `images` of the validation split."""
        key = f"{key_of(arch)}-{recalibration_images}-{images}"
        if key not in self._known:
            net = extract(self._supernet, arch)
            recalibrate(net, self._train.images[:recalibration_images])
            self._known[key] = accuracy(fold(net), self._val.images[:images], self._val.labels[:images])
            self._new += 1
            if self._new % SAVE_EVERY == 0:
                self.save()
        return self._known[key]

    def save(self) -> None:
        """Write what is known to the file."""
        write_json(self._path, self._known)
