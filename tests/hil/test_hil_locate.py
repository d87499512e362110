"""Which byte of what a kernel call left is the first wrong one."""

import numpy as np
import pytest

from patchline.hil.locate import _wrong_byte
from patchline.schedule.plan import Buffer

VALUES = np.random.default_rng(1).integers(-128, 128, (6, 6, 8), dtype=np.int8)
WHOLE = Buffer("x", "tensor", VALUES.size, 0, 0, 1, 6, 6, 8)
RING = Buffer("x", "ring", 4 * 48, 0, 0, 1, 4, 6, 8)
STRIP = Buffer("x", "ring", 2 * 32, 0, 0, 1, 2, 4, 8)  # 4 of the 6 columns


@pytest.mark.parametrize(
    ("buffer", "slot", "start", "written"),
    [
        (WHOLE, 2, 0, VALUES[2]),
        (WHOLE, 2, 0, VALUES[2:4]),  # a call that computes two rows at once
        (RING, 0, 0, VALUES[4:6]),
        (RING, 3, 8, VALUES[3, 1:]),
        (STRIP, 1, 0, VALUES[3, 2:]),  # the right strip
    ],
)
def test_the_first_wrong_byte_of_a_call(buffer: Buffer, slot: int, start: int, written: np.ndarray) -> None:
    flat = written.reshape(-1)
    assert _wrong_byte(VALUES, buffer, slot, start, flat) is None
    wrong = flat.copy()
    wrong[20] ^= 1
    assert _wrong_byte(VALUES, buffer, slot, start, wrong) == 20
