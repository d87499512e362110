"""Hypothesis strategy: the operators whose kernels go by blocks of outputs or channels, on maps of up to 20 columns.

Mostly with the short ways to requantise. As in random_operators, all tensors are outputs.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from patchline.network import arithmetic
from patchline.network.ir import Network, Requant
from random_operators import Maker

KINDS = ["depthwise", "depthwise", "depthwise", "add", "average", "max", "global"]


class MapMaker(Maker):
    """As `Maker`, with larger maps and plainer constants."""

    def source_shape(self) -> tuple[int, int, int]:
        return self.draw(st.integers(1, 8)), self.draw(st.integers(1, 20)), self.draw(st.integers(1, 9))

    def clamp(self) -> tuple[int, int]:
        return self.draw(st.sampled_from([(-128, 127)] * 5 + [(-100, 11)]))

    def requant(self, entries: int, fan_in: int) -> Requant:
        rule = self.draw(st.sampled_from(["single", "tflite"]))
        spread = 10.0 ** self.rng.uniform(-2, 0.5, entries) / (60 * np.sqrt(fan_in))
        return arithmetic.single_requant(spread) if rule == "single" else arithmetic.tflite_requant(spread)

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
        size = self.draw(st.sampled_from([5, 7, 2]))
        stride = self.draw(st.sampled_from([1, 2]))
        pad = (self.draw(st.integers(0, size - 1)), self.draw(st.integers(0, size - 1)))
        return (size, size), (stride, stride), pad, self.window((size, size), (stride, stride), pad)


@st.composite
def map_networks(draw, count: int = 6) -> tuple[Network, np.ndarray]:
    """A network of `count` operators over one map, and two images for it."""
    maker = MapMaker(draw, np.random.default_rng(draw(st.integers(0, 2**32))))
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=count, max_size=count)):
        maker.make(kind)
    network = Network("maps", "input", tuple(op.output for op in maker.ops), maker.tensors, tuple(maker.ops))
    images = np.stack([maker.values(maker.source.shape), maker.rng.integers(-128, 128, maker.source.shape)])
    return network, images.astype(np.int8)
