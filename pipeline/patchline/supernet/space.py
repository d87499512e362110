"""Search spaces: what may vary, and how an architecture is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from patchline.supernet.architecture import Architecture, Block

T = TypeVar("T")
Choose = Callable[[str, Sequence[int]], int]
"""Picks one of the options for the named choice: a random generator, an Optuna trial, `max` or `min`."""


@dataclass(frozen=True)
class Stage:
    """A run of blocks of one width; the first has the stride, the others stride 1 and a residual."""

    widths: tuple[int, ...]
    stride: int
    depths: tuple[int, ...] = (1,)
    kernels: tuple[int, ...] = (3,)
    expands: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Space:
    """All architectures between the smallest and the largest. Every tuple of options is in rising order."""

    name: str
    resolutions: tuple[int, ...]
    stems: tuple[int, ...]
    heads: tuple[int, ...]
    stages: tuple[Stage, ...] = field(default=())

    def choose(self, choose: Choose, classes: int, resolution: int | None = None) -> Architecture:
        """The architecture that `choose` makes; a given `resolution` is not asked for."""
        resolution = resolution or choose("resolution", self.resolutions)
        stem = choose("stem", self.stems)
        stages = []
        for s, stage in enumerate(self.stages):
            width, depth = choose(f"width{s}", stage.widths), choose(f"depth{s}", stage.depths)
            blocks = []
            for b in range(stage.depths[-1]):  # all are asked for, so that every architecture has the same choices
                kernel, expand = choose(f"kernel{s}_{b}", stage.kernels), choose(f"expand{s}_{b}", stage.expands)
                if b < depth:
                    blocks.append(Block(kernel, expand, width, stage.stride if b == 0 else 1))
            stages.append(tuple(blocks))
        return Architecture(resolution, stem, tuple(stages), choose("head", self.heads), classes)

    def largest(self, classes: int, resolution: int | None = None) -> Architecture:
        return self.choose(lambda _, options: options[-1], classes, resolution)

    def smallest(self, classes: int, resolution: int | None = None) -> Architecture:
        return self.choose(lambda _, options: options[0], classes, resolution)

    def sample(self, rng: np.random.Generator, classes: int, resolution: int | None = None) -> Architecture:
        """Every choice uniformly at random."""
        return self.choose(lambda _, options: int(rng.choice(options)), classes, resolution)


SMALL = Space(
    "small",
    resolutions=(48, 64, 80),
    stems=(8, 16),
    heads=(64, 96, 128),
    stages=(
        Stage((8, 16), 2, kernels=(3, 5)),
        Stage((16,), 1, (1,), (3, 5), (2, 3)),
        Stage((24, 32), 2, (1, 2), (3, 5), (3, 4)),
        Stage((40, 48, 64), 2, (1, 2, 3), (3, 5), (3, 4)),
    ),
)
"""Sized for training on two cores in minutes: only the stem and one depthwise run at half the input's resolution."""


def _mcunet_widths(base: int) -> tuple[int, ...]:
    return tuple(max(8, round(base * factor / 8) * 8) for factor in (0.5, 0.75, 1.0))


MCUNET = Space(
    "mcunet",
    resolutions=tuple(range(96, 257, 32)),
    stems=_mcunet_widths(32),
    heads=_mcunet_widths(320),
    stages=(
        Stage(_mcunet_widths(16), 1, kernels=(3, 5, 7)),
        *(
            Stage(_mcunet_widths(base), stride, (2, 3, 4), (3, 5, 7), (3, 4, 6))
            for base, stride in ((24, 2), (40, 2), (80, 2), (96, 1), (192, 2))
        ),
    ),
)
"""The space of MCUNetV2 (arXiv 2110.15352, appendix B); widths vary per stage, so that residuals keep their shape."""

SPACES = {space.name: space for space in (SMALL, MCUNET)}
