"""Networks whose operators are the shapes to measure: many to a firmware, because one build serves them all.

`sets()` names them. In each, operators follow each other in chains, once per requantisation rule; branches end in a
global pool, so that the outputs stay small. The heights differ with the widths, so that rows at the map's border weigh
differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from kernel_networks import SEED, requantised, tflite_add
from patchline.cores.armv7em import kernels
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Add, Conv, Depthwise, GlobalPool, Network, Op, Pool, Rule
from patchline.schedule import Plan, layer_plan
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import make_segment
from patchline.schedule.solver import assemble
from patchline.targets import Target

RULES: tuple[Rule, ...] = ("single", "tflite")

SLOW_WIDTHS = (3, 5, 6, 12)  # where the slow way to requantise is measured too: it costs much the same everywhere

POINTWISE = (8, 16, 8, 48, 16, 96, 24, 64, 32, 128, 64, 24, 144, 40, 8, 256, 16, 240, 48, 12, 36, 8)
"""Channels along the chain: every neighbouring pair is one shape."""
POINTWISE_WIDTHS = (2, 3, 4, 5, 6, 7, 10, 12, 24, 48)
DEPTHWISE_SIZES = ((3, 3), (4, 4), (5, 5), (6, 6), (8, 8), (10, 10), (12, 8), (16, 8), (20, 9), (33, 5), (40, 8))
DEPTHWISE_CHANNELS = (8, 24, 96)
STRIPS = ((4, 4), (12, 3), (20, 6), (30, 4))
"""Width of the map and number of column strips: what streams call on few columns, with and without the map's edges."""
RATIOS = ((6, 5), (3, 2), (2, 1), (4, 3), (12, 5), (3, 1), (4, 1), (3, 4), (1, 2))
"""Inputs to outputs of a change of size, in lowest terms."""
STEM_SIZES = (96, 80, 64, 33, 12)
STEM_CHANNELS = (8, 16, 32)
SHOWN = {
    *(f"pointwise-{width}" for width in (3, 5, 6, 12, 24, 48)),
    *(f"depthwise-{width}" for width in (5, 10, 12, 40)),
    *(f"stem-{size}" for size in (96, 80)),
    "dense",
    *(f"others-{width}" for width in (3, 10)),
}
"""Networks whose shapes are reported, stored and compared one by one."""


@dataclass(frozen=True)
class Set:
    """A network of shapes to measure; with `strips` as one stream in that many column strips, else layer by layer."""

    build: Callable[[], Network]
    strips: int = 0

    def plan(self, network: Network, target: Target) -> Plan:
        if not self.strips:
            return layer_plan(network, target)
        graph = Graph(network)
        segment = make_segment(graph, "stream", 0, len(network.ops), 1, self.strips)
        return assemble(graph, target, [segment], "pulled", overlap=None)


def sets() -> dict[str, Set]:
    """What is measured, by name."""
    found: dict[str, Set] = {}
    for width in POINTWISE_WIDTHS:
        found[f"pointwise, width {width}"] = Set(partial(_pointwise, width))
    for width, height in DEPTHWISE_SIZES:
        found[f"depthwise, map {height}x{width}"] = Set(partial(_depthwise, width, height))
    for size in STEM_SIZES:
        found[f"first convolution, width {size}"] = Set(partial(_stem, size))
    found["fully connected"] = Set(_dense)
    for width in (3, 10, 20):
        found[f"elementwise and pools, width {width}"] = Set(partial(_others, width))
    for width in (96, 48, 24):
        for channels in (3, 1):
            found[f"change of size, width {width}, {channels} channels"] = Set(partial(_resizes, width, channels))
    for width, count in STRIPS:
        found[f"strips, {count} of width {width}"] = Set(partial(_strips, width), count)
    return found


class _Chains:
    """A builder that notes the requantisation rule of what it adds."""

    def __init__(self, height: int, width: int, channels: int, name: str) -> None:
        self.b = NetworkBuilder(height, width, channels, SEED, name)
        self.rules: list[Rule | None] = []

    def add(self, rule: Rule | None, name: str) -> str:
        """Note the rule of the operator that was just added; returns its output `name`."""
        self.rules.append(rule)
        return name

    def end(self, x: str) -> str:
        """A small output for the chain that ends in `x`."""
        return self.add(None, self.b.global_pool(x))

    def finish(self, outputs: list[str]) -> Network:
        network = self.b.finish(*outputs)
        ops = tuple(_by_rule(network, op, rule) for op, rule in zip(network.ops, self.rules, strict=True))
        return replace(network, ops=ops)


def _by_rule(network: Network, op: Op, rule: Rule | None) -> Op:
    if rule is None or rule == "single":
        return op
    if isinstance(op, Conv | Depthwise):
        return requantised(op, rule)
    if isinstance(op, Add):
        return tflite_add(network, op)
    assert isinstance(op, Pool | GlobalPool)
    return replace(op, requant=None)


def _pointwise(width: int) -> Network:
    c = _Chains(2 if width < 20 else 1, width, POINTWISE[0], f"pointwise-{width}")
    ends = []
    for rule in RULES:
        x = "input"
        for channels in POINTWISE[1:]:
            x = c.add(rule, c.b.conv(x, channels))
        ends.append(c.end(x))
    if width in SLOW_WIDTHS:
        x = "input"
        for channels in (24, 8, 64, 16):
            x = c.add("tflite_once", c.b.conv(x, channels))
        ends.append(c.end(x))
    return c.finish(ends)


def _depthwise(width: int, height: int) -> Network:
    c = _Chains(height, width, DEPTHWISE_CHANNELS[0], f"depthwise-{width}")
    ends = []
    x = "input"
    for channels in DEPTHWISE_CHANNELS:
        x = x if channels == DEPTHWISE_CHANNELS[0] else c.add("single", c.b.conv(x, channels))
        rules = (*RULES, "tflite_once") if width in SLOW_WIDTHS and channels < 96 else RULES
        for rule in rules:
            for kernel in (3, 5, 7):
                for stride in (1, 2):
                    ends.append(c.end(c.add(rule, c.b.depthwise(x, kernel, stride))))
    return c.finish(ends)


def _stem(size: int) -> Network:
    c = _Chains(11, size, 3, f"stem-{size}")
    ends = []
    for rule in RULES:
        for channels in STEM_CHANNELS:
            ends.append(c.end(c.add(rule, c.b.conv("input", channels, 3, 2))))
        small = c.add(rule, c.b.conv("input", 8, 3, 2))
        ends.append(c.end(c.add(rule, c.b.conv(small, 16, 3))))
    return c.finish(ends)


def _dense() -> Network:
    c = _Chains(1, 1, 64, "dense")
    ends = []
    for rule in ("single", "tflite", "tflite_once"):
        x = "input"
        for channels in (2, 160, 10, 256, 100, 2):
            x = c.add(rule, c.b.conv(x, channels, relu=False))
        ends.append(x)
    return c.finish(ends)


def _strips(width: int) -> Network:
    c = _Chains(18, 2 * width, 3, f"strips-{width}")
    ends = []
    for rule in RULES:
        x = c.add(rule, c.b.conv("input", 16, 3, 2))
        for kernel, channels in ((3, 24), (5, 8), (7, 16)):
            x = c.add(rule, c.b.conv(x, 4 * channels))
            x = c.add(rule, c.b.depthwise(x, kernel))
            x = c.add(rule, c.b.conv(x, channels))
        for channels in (48, 8, 96, 32):  # behind the last halo: single columns
            x = c.add(rule, c.b.conv(x, channels))
        ends.append(c.end(x))
    return c.finish(ends)


def _others(width: int) -> Network:
    c = _Chains(6, width, 16, f"others-{width}")
    ends = []
    x = "input"
    for channels in (16, 48):
        x = c.add("single", c.b.conv(x, channels))
        y = c.add("single", c.b.depthwise(x, 3))
        for rule in RULES:
            ends.append(c.end(c.add(rule, c.b.add(x, y))))
            ends.append(c.add(rule, c.b.global_pool(x)))
            ends.append(c.end(c.add(rule, c.b.pool(x, "average", 2, 2))))
            ends.append(c.end(c.add(rule, c.b.pool(x, "average", 3, 1, 1))))
        for kernel, stride, pad in ((2, 2, 0), (3, 1, 1)):
            ends.append(c.end(c.add(None, c.b.pool(x, "max", kernel, stride, pad))))
        ends.append(c.end(c.add(None, c.b.lookup(x))))
        ends.append(c.end(c.add(None, c.b.upsample(x))))
        gate = c.add(None, c.b.global_pool(x))
        ends.append(c.end(c.add(None, c.b.mul(x, gate))))
        ends.append(c.end(c.add(None, c.b.depthwise(x, 2))))
    return c.finish(ends)


def _resizes(width: int, channels: int) -> Network:
    c = _Chains(12, width, channels, f"resize-{width}")
    sizes = [(12 * up // stride, width * up // stride) for stride, up in RATIOS]
    return c.finish([c.end(c.add(None, c.b.resize("input", *size))) for size in sizes])


def label(network: Network, op: Op) -> str:
    """The shape as a reader knows it: kernel, channels, size of the map that comes out."""
    kernel = kernels.choose(network, op).name.replace("_", " ")
    source, out = network.tensors[op.inputs[0]], network.tensors[op.output]
    size = f"{out.height}x{out.width}"
    if isinstance(op, Conv):
        window = "" if kernel != "window" else f" {op.weights.shape[1]}x{op.weights.shape[2]} s{op.stride[1]}"
        return f"{kernel}{window} {source.channels}->{out.channels}, width {out.width}"
    if isinstance(op, Depthwise) and kernel == "depthwise":
        kernel += f" {op.weights.shape[0]}x{op.weights.shape[1]}"
    if isinstance(op, Pool):
        kernel += f" {op.kernel[0]}x{op.kernel[1]} s{op.stride[1]}"
    if isinstance(op, GlobalPool):
        size = f"{source.height}x{source.width}"
    return f"{kernel} C {out.channels}, {size}"


def shapes(network: Network) -> Iterator[tuple[int, Op]]:
    """The operators worth a line in a table: what the network is there for, not what only leads to it or ends a chain.

    Networks outside `SHOWN` have none: they are measured for the prediction of latency alone.
    """
    subject = network.name.split("-")[0]
    for index, op in enumerate(network.ops):
        source = network.tensors[op.inputs[0]]
        if network.name not in SHOWN:
            return
        if subject == "others":
            pool = isinstance(op, GlobalPool)
            ends = pool and (source.height == 1 or network.consumers(op.inputs[0]) == (index,))
            wanted = (
                not ends and not isinstance(op, Conv) and not (isinstance(op, Depthwise) and op.weights.shape[0] == 3)
            )
        elif subject == "depthwise":
            wanted = isinstance(op, Depthwise)
        else:
            wanted = isinstance(op, Conv)
        if wanted:
            yield index, op
