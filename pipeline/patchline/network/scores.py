"""How answers compare with labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion(answers: NDArray[np.integer], labels: NDArray[np.integer], classes: int) -> list[list[int]]:
    """Counts [actual][predicted] of the classes `answers` [N] given for images of the classes `labels` [N]."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, answers), 1)
    rows: list[list[int]] = counts.tolist()
    return rows
