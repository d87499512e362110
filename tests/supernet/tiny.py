"""A space and images small enough to train in a second."""

import numpy as np

from patchline.data import Split
from patchline.supernet import Space, Stage

TINY = Space(
    "tiny",
    resolutions=(12, 16),
    stems=(4, 8),
    heads=(8, 16),
    stages=(Stage((4, 8), 2), Stage((8,), 1, (1, 2), (3, 5), (1, 2))),
)


def split(count: int, seed: int = 0) -> Split:
    """Noise whose label is whether the upper half is bright."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    images = rng.integers(0, 120, (count, 16, 16, 3), dtype=np.uint8)
    images[labels == 1, :8] += 100
    return Split(images, labels)
