"""Accuracy of candidates with the supernet's weights, kept on disk so that boards and later runs share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from patchline.data import parts
from patchline.data.prepared import Split
from patchline.files import read_json, write_json
from patchline.network import filters
from patchline.supernet import Architecture, Supernet, extract
from patchline.supernet.checkpoint import run_key
from patchline.supernet.evaluate import EVALUATION_BATCH, accuracy_on, recalibrate_on
from patchline.supernet.extract import fold
from patchline.supernet.images import batches

FOLDER = Path(".patchline/accuracy")
SAVE_EVERY = 10  # new values
KEPT_IMAGES = 2048  # as network inputs in memory, per resolution


def key_of(arch: Architecture) -> str:
    """A short content hash of an architecture."""
    return hashlib.sha256(json.dumps(arch.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


class Judge:
    """Estimates accuracy on the validation split, after recalibrating on training images.

    Values are remembered in `folder`, in a file named after all that decides them: `identity` (hashes of the supernet
    and the data) and the code that evaluates.
    """

    def __init__(
        self, supernet: Supernet, train: Split, val: Split, identity: Sequence[str], folder: Path = FOLDER
    ) -> None:
        self._supernet, self._splits = supernet, {"train": train, "val": val}
        own = (Path(__file__), Path(parts.__file__), Path(filters.__file__))
        code = (*own, *(Path(__file__).parents[1] / "supernet").glob("*.py"))
        self.identity = run_key("accuracy", list(identity), *code)
        self._path = folder / f"{self.identity}.json"
        self._known: dict[str, float] = read_json(self._path) if self._path.exists() else {}
        self._new = 0
        self._parts: dict[tuple[str, int], Split] = {}
        self._kept: dict[tuple[str, int, int], list[Tensor]] = {}

    def accuracy(self, arch: Architecture, recalibration_images: int, images: int) -> float:
        """Accuracy of `arch` on `images` of the validation split, the same for every candidate."""
        key = f"{key_of(arch)}-{recalibration_images}-{images}"
        if key not in self._known:
            net = extract(self._supernet, arch)
            recalibrate_on(net, self._inputs("train", arch.resolution, recalibration_images))
            inputs = self._inputs("val", arch.resolution, images)
            self._known[key] = accuracy_on(fold(net), inputs, self._part("val", images).labels)
            self._new += 1
            if self._new % SAVE_EVERY == 0:
                self.save()
        return self._known[key]

    def _inputs(self, split: str, resolution: int, images: int) -> Iterable[Tensor]:
        """`images` of `split` as batches; small selections are kept, for every candidate sees them."""
        inputs = batches(self._part(split, images).images, resolution, EVALUATION_BATCH)
        if images > KEPT_IMAGES:
            return inputs
        key = (split, resolution, images)
        if key not in self._kept:
            self._kept[key] = list(inputs)
        return self._kept[key]

    def _part(self, split: str, images: int) -> Split:
        key = (split, images)
        if key not in self._parts:
            self._parts[key] = parts.part(self._splits[split], images)
        return self._parts[key]

    def save(self) -> None:
        """Write what is known to the file."""
        write_json(self._path, self._known)
