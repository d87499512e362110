"""Which architecture a search tries next: an endless stream of draws, from which the search takes the first that fits.

A draw costs next to nothing: what breaks a limit is known from the schedule solver, without asking for its accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from patchline.supernet import Architecture, Space

Scored = tuple[Architecture, float]
"""An architecture with its accuracy."""

Draw = Callable[[Space, int, Sequence[Scored], np.random.Generator], Iterator[Architecture]]
"""(space, classes, what is known, the generator of this trial) to draws without end."""

MUTATION = 0.1  # probability that a choice of a child is drawn afresh
POOL = 64  # children from which the one with the best prospects is drawn first
RIDGE = 1.0  # of the fit: about the variance of the noise over that of one choice's effect


def at_random(space: Space, classes: int, known: Sequence[Scored], rng: np.random.Generator) -> Iterator[Architecture]:
    """Every choice uniformly at random, whatever is known: what a search has to beat."""
    while True:
        yield space.sample(rng, classes)


def evolved(population: int) -> Draw:
    """Children of the `population` most accurate, those first that a fit to all that is known expects most of.

    The fit adds up the effects of the single choices (ridge regression). It smooths the noise of accuracies that are
    measured on few images, and it tells mutations that help from those that only use up what is allowed.
    """

    def draw(space: Space, classes: int, known: Sequence[Scored], rng: np.random.Generator) -> Iterator[Architecture]:
        yield from corners(space, classes)
        if len(known) < 2:
            yield from at_random(space, classes, known, rng)
        parents = [choices(space, arch) for arch, _ in sorted(known, key=lambda k: -k[1])[:population]]
        prospect = fitted(space, known)
        while True:
            pool = [_child(space, classes, parents, rng) for _ in range(POOL)]
            yield from sorted(pool, key=prospect, reverse=True)

    return draw


def corners(space: Space, classes: int) -> Iterator[Architecture]:
    """The smallest and the largest network of every resolution, which random draws rarely meet."""
    for resolution in space.resolutions:
        yield space.smallest(classes, resolution)
        yield space.largest(classes, resolution)


def choices(space: Space, arch: Architecture) -> dict[str, int]:
    """The choices that make `arch`, under the names of `Space.choose`; those of blocks that it lacks are not there."""
    made = {"resolution": arch.resolution, "stem": arch.stem, "head": arch.head}
    for s, blocks in enumerate(arch.stages):
        made |= {f"width{s}": blocks[0].width, f"depth{s}": len(blocks)}
        for b, block in enumerate(blocks):
            made |= {f"kernel{s}_{b}": block.kernel, f"expand{s}_{b}": block.expand}
    return made


def fitted(space: Space, known: Sequence[Scored]) -> Callable[[Architecture], float]:
    """What to expect of an architecture: the sum of its choices' effects, fitted to `known` by ridge regression."""
    columns: dict[tuple[str, int], int] = {}
    for arch, _ in known:
        for choice in choices(space, arch).items():
            columns.setdefault(choice, len(columns))

    def row(arch: Architecture) -> NDArray[np.float64]:
        cells = np.zeros(len(columns))
        cells[[columns[c] for c in choices(space, arch).items() if c in columns]] = 1
        return cells

    table = np.stack([row(arch) for arch, _ in known])
    scores = np.array([score for _, score in known])
    centre = table.mean(0)
    spread = table - centre
    effects = np.linalg.solve(spread.T @ spread + RIDGE * np.eye(len(columns)), spread.T @ (scores - scores.mean()))
    return lambda arch: float(row(arch) @ effects)


def _child(space: Space, classes: int, parents: Sequence[dict[str, int]], rng: np.random.Generator) -> Architecture:
    """Every choice from one of two parents, few of them drawn afresh."""
    pair = [parents[int(i)] for i in rng.integers(len(parents), size=2)]

    def choose(name: str, options: Sequence[int]) -> int:
        fresh = int(rng.choice(options))
        return fresh if rng.random() < MUTATION else pair[int(rng.integers(2))].get(name, fresh)

    return space.choose(choose, classes)
