"""Hypothesis strategies: small random networks and random plans of them."""

from math import gcd

from hypothesis import strategies as st

from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network

KINDS = ["mbconv", "mbconv", "residual", "conv", "depthwise", "pool", "lookup", "gate", "branch", "up", "resize"]


@st.composite
def networks(draw, seed: int | None = None, max_size: int = 24) -> Network:
    """Chains of convolutions, inverted residuals, pools, branches; kernels 1-7, strides 1-2, odd sizes down to 1
    pixel."""
    height, width = draw(st.integers(1, max_size)), draw(st.integers(1, max_size))
    b = NetworkBuilder(
        height, width, draw(st.integers(1, 5)), seed=seed if seed is not None else draw(st.integers(0, 99))
    )
    x = "input"
    for index in range(draw(st.integers(1, 5))):
        b.block(f"block{index}")
        kernel, stride = draw(st.sampled_from([1, 2, 3, 4, 5, 7])), draw(st.sampled_from([1, 1, 2]))
        channels = draw(st.integers(1, 13))
        t = b.tensor(x)
        odd_kernel = kernel | 1
        match draw(st.sampled_from(KINDS)):
            case "mbconv":
                x = b.mbconv(x, channels, odd_kernel, stride, draw(st.sampled_from([1, 2, 3])))
            case "residual":
                x = b.mbconv(x, t.channels, odd_kernel, 1, 2)
            case "conv" if min(t.height, t.width) + 2 * ((kernel - 1) // 2) >= kernel:
                x = b.conv(x, channels, kernel, stride, relu=draw(st.booleans()))
            case "depthwise" if min(t.height, t.width) + 2 * ((kernel - 1) // 2) >= kernel:
                x = b.depthwise(x, kernel, stride)
            case "pool" if min(t.height, t.width) >= 2:
                x = b.pool(x, draw(st.sampled_from(["average", "max"])), 2, stride)
            case "lookup":
                x = b.lookup(x)
            case "gate":
                x = b.mul(x, b.conv(b.global_pool(x), t.channels))
            case "branch":
                x = b.add(b.conv(x, channels, 1), b.conv(x, channels, odd_kernel))
            case "up" if max(t.height, t.width) <= 12:
                x = b.upsample(x)
            case "resize" if max(t.height, t.width) <= 16:
                stride = draw(st.sampled_from([n for n in range(1, 17) if gcd(t.height, t.width) % n == 0]))
                up = draw(st.integers(1, max(1, 20 * stride // max(t.height, t.width))))
                x = b.resize(x, t.height // stride * up, t.width // stride * up)
    if draw(st.booleans()):
        x = b.conv(b.global_pool(x), draw(st.integers(1, 10)), relu=False)
    if x == "input":
        x = b.conv(x, 3, 1)
    return b.finish(x)


@st.composite
def branching_networks(draw, seed: int | None = None, max_size: int = 24) -> Network:
    """Parallel branches that meet again or do not: operators on any of the last tensors, joined by additions, gates and
    concatenations where the shapes allow it; up to four outputs, some of them read again."""
    size = draw(st.integers(2, max_size)), draw(st.integers(2, max_size)), draw(st.integers(1, 5))
    b = NetworkBuilder(*size, seed=seed if seed is not None else draw(st.integers(0, 99)))
    made = ["input"]
    for index in range(draw(st.integers(3, 12))):
        b.block(f"block{index}")
        x = made[-1 - draw(st.integers(0, min(3, len(made) - 1)))]
        t = b.tensor(x)
        partners = [name for name in made if name != x and b.tensor(name).shape[:2] == t.shape[:2]]
        alike = [name for name in partners if b.tensor(name).channels == t.channels]
        kernel, stride = draw(st.sampled_from([1, 2, 3, 3, 5, 7])), draw(st.sampled_from([1, 1, 1, 2]))
        fits = min(t.height, t.width) + 2 * ((kernel - 1) // 2) >= kernel
        match draw(st.sampled_from(["conv", "conv", "depthwise", "join", "join", "join", "pool", "gate", "up"])):
            case "join" if alike and draw(st.booleans()):
                made.append(b.add(x, draw(st.sampled_from(alike))))
            case "join" if partners and t.channels < 40:
                made.append(b.concat(x, *draw(st.lists(st.sampled_from(partners), min_size=1, max_size=3))))
            case "depthwise" if fits:
                made.append(b.depthwise(x, kernel, stride))
            case "pool" if min(t.height, t.width) >= 2:
                made.append(b.pool(x, draw(st.sampled_from(["average", "max"])), 2, stride))
            case "gate":
                made.append(b.mul(x, b.conv(b.global_pool(x), t.channels)))
            case "up" if max(t.height, t.width) <= 12:
                made.append(b.upsample(x))
            case _ if fits:
                made.append(b.conv(x, draw(st.integers(1, 9)), kernel, stride))
    if made == ["input"]:
        made.append(b.conv("input", 3, 1))
    others = draw(st.lists(st.sampled_from(made[1:]), max_size=3, unique=True))
    return b.finish(*dict.fromkeys([made[-1], *others]))
