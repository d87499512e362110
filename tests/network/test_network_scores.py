"""When an accuracy is worth a warning."""

from __future__ import annotations

import numpy as np
import pytest

from patchline.network.scores import constant_accuracy, constant_warning


def test_a_constant_answer_is_right_on_the_most_frequent_class() -> None:
    assert constant_accuracy(np.array([0, 0, 1, 0, 2])) == 0.6
    assert constant_accuracy(np.array([1, 1, 0, 2, 1])) == 0.6


@pytest.mark.parametrize(
    ("accuracy", "constant", "images", "warned"),
    [
        (0.50, 0.5, 2000, True),
        (0.62, 0.5, 2000, True),  # a quarter of the mistakes is 0.625
        (0.63, 0.5, 2000, False),
        (0.70, 0.5, 20, True),  # two standard errors are 0.22
        (0.95, 0.5, 20, False),
        (0.91, 0.9, 2000, True),
        (0.93, 0.9, 2000, False),
        (0.33, 0.1, 2000, False),
        (1.00, 1.0, 2000, False),  # one class only: nothing is wrong with the network
        (0.40, 0.9, 2000, True),
    ],
)
def test_an_accuracy_near_it_is_warned_of(accuracy: float, constant: float, images: int, warned: bool) -> None:
    assert (constant_warning(accuracy, constant, images) is not None) == warned
