"""How answers compare with labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CLOSED = 0.25  # of what a constant answer gets wrong: with less put right, a network has learned next to nothing


def constant_accuracy(labels: NDArray[np.integer]) -> float:
    """What one and the same answer for every image reaches: the share of the most frequent of `labels` [N]."""
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


def constant_warning(accuracy: float, constant: float, images: int) -> str | None:
    """What to say of an `accuracy` that is near the one of a `constant` answer on as many `images`; None: it is not.

    Near: within two standard errors of it, or with less than a quarter of the constant answer's mistakes put right.
    """
    chance = 2 * math.sqrt(constant * (1 - constant) / images)
    if accuracy >= constant + max(CLOSED * (1 - constant), chance):
        return None
    return (
        f"an accuracy of {accuracy:.4f} is hardly better than one and the same answer for every image, "
        f"which is right on {constant:.4f} of these {images}"
    )


def confusion(answers: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> list[list[int]]:
    """Counts [actual][predicted] of the classes `answers` [N] given for images of the classes `labels` [N]."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, answers), 1)
    rows: list[list[int]] = counts.tolist()
    return rows
