"""Raw images -> one prepared format that training, search, quantisation and the benchmark read."""

from patchline.data.prepared import (
    SPLITS,
    Manifest,
    Prepared,
    Split,
    load_boxes,
    load_manifest,
    load_split,
    write_prepared,
)
from patchline.data.sources import prepare

__all__ = [
    "SPLITS",
    "Manifest",
    "Prepared",
    "Split",
    "load_boxes",
    "load_manifest",
    "load_split",
    "prepare",
    "write_prepared",
]
