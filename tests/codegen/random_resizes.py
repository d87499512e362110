"""Hypothesis strategy: pictures of random sizes at another size, and what may stand behind."""

from __future__ import annotations

from math import gcd

from hypothesis import strategies as st

from patchline.network.builder import NetworkBuilder


@st.composite
def ratios(draw) -> tuple[int, int]:
    stride, up = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    return stride // gcd(stride, up), up // gcd(stride, up)


@st.composite
def resized_networks(draw):
    """Pictures of 1 to about 40 pixels at another size, with convolutions behind."""
    stride, up = draw(ratios())
    most = max(1, 40 // max(stride, up))
    rows, columns = draw(st.integers(1, most)), draw(st.integers(1, most))
    channels = draw(st.sampled_from([1, 2, 3, 3, 3, 5]))
    b = NetworkBuilder(rows * stride, columns * stride, channels, draw(st.integers(0, 99)))
    x = b.resize("input", rows * up, columns * up)
    if draw(st.booleans()):
        x = b.conv(x, 4, 3, draw(st.sampled_from([1, 2])))
    if draw(st.booleans()):
        x = b.depthwise(x, draw(st.sampled_from([3, 5])))
    return b.finish(x)
