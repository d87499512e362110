"""Pixels of image files, whatever their depth."""

from __future__ import annotations

import numpy as np
from PIL import Image

_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # how Pillow opens greyscale files of 16 bits


def eight_bit(image: Image.Image) -> Image.Image:
    """The image with 8 bits a value: 16-bit greyscale becomes "L", black 0, white 255; others come back as they are.

    `Image.convert` clips values above 255, so that such a photo would turn white.
    """
    if image.mode not in _DEEP:
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(((values + 128) // 257).clip(0, 255).astype(np.uint8))
