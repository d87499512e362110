"""Weights in the order that the kernels read them."""

import numpy as np

from patchline.cores.armv7em import layout


def test_interleaved_weights():
    weights = np.arange(3 * 5, dtype=np.int8).reshape(3, 1, 1, 5)
    packed = layout.conv_weights(weights, "split")
    assert packed.size == 2 * 2 * 8
    assert packed[:8].tolist() == [0, 5, 2, 7, 1, 6, 3, 8]  # inputs (0, 2) then (1, 3), channels 0 and 1 alternating
    assert packed[16:24].tolist() == [10, 0, 12, 0, 11, 0, 13, 0]  # the third channel has no partner


def test_what_is_left_of_the_rows_comes_last():
    weights = np.arange(10, dtype=np.int8).reshape(1, 2, 1, 5)
    packed = layout.conv_weights(weights, "flat")
    # the fours of both rows, then 4 and 9 as a pair
    assert packed[::2].tolist() == [0, 2, 1, 3, 5, 7, 6, 8, 4, 9, 0, 0]
    assert not packed[1::2].any()  # no partner
