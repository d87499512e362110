"""A part of a split that stands for the whole: seeded, with the classes in their proportion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchline.data.prepared import Split


def part(split: Split, count: int | None, seed: int = 0) -> Split:
    """`count` images of `split` in the order of `stratified`, all of them where it has no more; None: as it is.

    Two runs that are to be compared draw the same part: `seed` stays what it is.
    """
    if count is None:
        return split
    chosen = stratified(split.labels, count, seed)
    return Split(split.images[chosen], split.labels[chosen])


def stratified(labels: NDArray[np.integer], count: int, seed: int = 0) -> NDArray[np.int64]:
    """Indices of `count` of the images with these `labels` [N], in an order every beginning of which is stratified.

    Each class is drawn at random and spread evenly over the order, so that a shorter part is the beginning of a longer
    one, and every run of images (a batch) holds the classes in about their proportion. Only which images share a class
    matters, not its number.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    classes = labels[shuffled]
    place = np.empty(len(labels))  # of an image among those of its class, from 0 to 1
    for label in np.unique(labels):
        mine = np.flatnonzero(classes == label)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return shuffled[np.argsort(place, kind="stable")][:count]
