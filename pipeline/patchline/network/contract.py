"""What a network's input means, in one object: size, colour, and how a picture becomes the int8 values it reads.

`prepare` writes a contract into manifest.json, a `Network` carries one (network.npz), the firmware package states it
(generated/<prefix>.h), and whoever feeds a network asks its contract: no other place knows how a pixel becomes
int8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from patchline.errors import UserError

Colour = Literal["rgb", "gray", "none"]
"""Order of the channels of a pixel; `none`: the input is no picture."""

Fit = Literal["crop-box", "none"]
"""How a picture of another size becomes one of this."""

FITS: dict[Fit, str] = {
    "crop-box": "the largest part around its centre that has the input's proportions, scaled with a box filter",
    "none": "not defined",
}

PIXEL_SCALE, PIXEL_ZERO = 1 / 255, -128
"""Quantisation of pixels that stand for 0 to 1: int8 = pixel - 128, exactly."""

USUAL = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""What the pixels 0 and 255 usually stand for."""

USUAL_WITHIN = 0.1
"""Share of a usual range by which the range of an input tensor may differ from it at either end."""

HALF = 0.5 + 2.0**-10
"""Halves go up, and so does what misses a half by the precision of a scale that is stored as float32."""


@dataclass(frozen=True)
class InputContract:
    """The input of one network: int8 [height, width, channels], real value = scale * (q - zero_point).

    `pixels`: the real values that the pixels 0 and 255 stand for, None where the input is no picture. Raises ValueError
    for values that contradict each other.
    """

    height: int
    width: int
    channels: int
    colour: Colour
    scale: float
    zero_point: int
    pixels: tuple[float, float] | None
    fit: Fit = "crop-box"

    def __post_init__(self) -> None:
        picture = self.colour != "none"
        if self.colour not in get_args(Colour) or self.fit not in get_args(Fit):
            raise ValueError(f"the colour '{self.colour}' or the fit '{self.fit}' of an input is not known")
        if picture and (self.pixels is None or self.channels != {"rgb": 3, "gray": 1}[self.colour]):
            raise ValueError(f"{self.channels} channels with pixels {self.pixels} are no {self.colour} picture")
        if not picture and self.pixels is not None:
            raise ValueError("an input that is no picture has no pixels")
        if self.pixels is not None and not (np.isfinite(self.pixels).all() and self.pixels[0] < self.pixels[1]):
            raise ValueError(f"the pixels of an input cannot run from {self.pixels[0]:g} to {self.pixels[1]:g}")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def table(self) -> NDArray[np.int8]:
        """The int8 value of every pixel 0..255: round(real / scale) + zero_point, clamped."""
        if self.pixels is None:
            raise ValueError("an input that is no picture has no pixels")
        low, high = self.pixels
        steps = (low + np.arange(256) * (high - low) / 255) / self.scale + self.zero_point
        return np.clip(np.floor(steps + HALF), -128, 127).astype(np.int8)

    @property
    def shifts_only(self) -> bool:
        """Whether int8 = pixel - 128 for every pixel, which needs no table."""
        return self.pixels is not None and np.array_equal(self.table, np.arange(-128, 128))

    def values_of(self, images: NDArray[Any], source: str = "the images") -> NDArray[np.int8]:
        """int8 inputs [N, H, W, C] of uint8 pictures, or of ready int8 values; UserError where they do not fit."""
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise UserError(
                f"{source} have the shape {list(images.shape)}, the network takes "
                f"[N, {', '.join(map(str, self.shape))}]"
            )
        if images.dtype == np.int8:
            return images
        if images.dtype != np.uint8:
            raise UserError(f"{source} are {images.dtype}: pixels are uint8, ready inputs int8")
        if self.pixels is None:
            raise UserError(
                f"{source} are pixels, but the network's input is no picture: give int8 values, or say what pixels "
                "stand for with `patchline compile --pixels`"
            )
        return self.table[images]

    def sentence(self) -> str:
        """The contract in a line."""
        size = f"{self.height} x {self.width} x {self.channels}"
        if self.pixels is None:
            return f"{size} values that are no picture, int8 as they are"
        formula = "pixel - 128" if self.shifts_only else f"round(real / {self.scale:.6g}) {self.zero_point:+d}"
        meaning = f"pixels 0..255 stand for {self.pixels[0]:g}..{self.pixels[1]:g}"
        return f"{size} {self.colour} picture, {meaning}: int8 = {formula}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> InputContract:
        """The inverse of `to_dict`, also after a round trip through JSON. Raises ValueError, TypeError."""
        pixels = data.get("pixels")
        return InputContract(**{**data, "pixels": None if pixels is None else (float(pixels[0]), float(pixels[1]))})


def quantisation_of(pixels: tuple[float, float]) -> tuple[float, int]:
    """Scale and zero point whose int8 values are the pixels minus 128, or miss them by half a step."""
    scale = (pixels[1] - pixels[0]) / 255
    return scale, int(np.clip(np.ceil(PIXEL_ZERO - pixels[0] / scale - HALF), -128, 127))


def photos(resolution: int) -> InputContract:
    """What `prepare` makes: square RGB pictures whose pixels stand for 0 to 1."""
    return InputContract(resolution, resolution, 3, "rgb", float(np.float32(PIXEL_SCALE)), PIXEL_ZERO, USUAL[0])


def guessed(shape: tuple[int, int, int], scale: float, zero_point: int) -> InputContract:
    """The contract of an input of which only the tensor is known.

    It is a picture where it has one or three channels and its int8 values cover about one of the usual ranges.
    """
    covered = np.array([-128 - zero_point, 127 - zero_point]) * scale
    misses = [float(np.abs(covered - ends).max() / (ends[1] - ends[0])) for ends in USUAL]
    picture = shape[2] in (1, 3) and min(shape[:2]) > 1 and min(misses) <= USUAL_WITHIN
    return declared(shape, scale, zero_point, USUAL[int(np.argmin(misses))] if picture else None)


def declared(
    shape: tuple[int, int, int], scale: float, zero_point: int, pixels: tuple[float, float] | None
) -> InputContract:
    """The contract of an input whose pixels stand for `pixels`. Raises ValueError where it cannot be a picture."""
    if pixels is None:
        return InputContract(*shape, "none", scale, zero_point, None, "none")
    return InputContract(*shape, "gray" if shape[2] == 1 else "rgb", scale, zero_point, pixels)


def parse_pixels(text: str) -> tuple[float, float] | None:
    """What `--pixels` says: `0..1`, `-1..1`, `0..255` or any two numbers; `none` gives None. Raises UserError."""
    if text == "none":
        return None
    number = r"[+-]?\d+(?:\.\d+)?"
    match = re.fullmatch(rf"({number})\.\.({number})", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise UserError(
            f"--pixels {text}: say what the pixels 0 and 255 stand for, as in 0..1, -1..1 or 0..255, or none for an "
            "input that is no picture"
        )
    return float(match[1]), float(match[2])
