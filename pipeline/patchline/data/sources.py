"""The data sources by their names in params.yaml."""

from __future__ import annotations

from collections.abc import Callable

from patchline.config import DataParams
from patchline.data import fashion_mnist, folder, scenes
from patchline.data.prepared import Prepared, shuffled

_SOURCES: dict[str, Callable[[DataParams, int], Prepared]] = {
    "scenes": scenes.prepare,
    "fashion-mnist": fashion_mnist.prepare,
    "folder": folder.prepare,
}


def prepare(params: DataParams, seed: int) -> Prepared:
    """Read the raw data of `params.source` and make all splits, shuffled. Raises UserError for unusable data."""
    return shuffled(_SOURCES[params.source](params, seed), seed)
