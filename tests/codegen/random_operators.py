"""Hypothesis strategy: networks in which many operators, each of random shape and constants, read one small input.

All tensors are outputs, so one compilation and one run check every kernel of the network.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np
from hypothesis import strategies as st

from patchline.network import arithmetic, fixedpoint
from patchline.network.ir import (
    Add,
    Concat,
    Conv,
    Depthwise,
    GlobalPool,
    Lookup,
    Mul,
    Network,
    Op,
    Pad,
    Pool,
    Requant,
    Resize,
    Softmax,
    Tensor,
    Upsample,
)

KINDS = ["conv", "conv", "pointwise", "pointwise", "dense", "depthwise", "depthwise", "depthwise"]
KINDS += ["add", "mul", "gate", "average", "max", "global", "lookup", "concat", "upsample", "resize", "pad", "softmax"]


class Maker:
    """Adds random operators; `rng` gives the values, `draw` the shapes."""

    def __init__(self, draw, rng: np.random.Generator) -> None:
        self.draw, self.rng = draw, rng
        self.source = Tensor("input", *self.source_shape(), 0.05, self.zero())
        self.tensors = {"input": self.source}
        self.ops: list[Op] = []
        # a second tensor of the input's shape, at another zero point
        self.other = self.add(Lookup, self.source.shape, table=self.values((256,)))

    def source_shape(self) -> tuple[int, int, int]:
        return self.draw(st.integers(1, 9)), self.draw(st.integers(1, 11)), self.draw(st.integers(1, 13))

    def zero(self) -> int:
        return self.draw(st.sampled_from([-128, 127, 0, 5, -77]))

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """int8 values, sometimes all at an extreme."""
        extreme = self.draw(st.sampled_from([None, None, None, -128, 127]))
        if extreme is not None:
            return np.full(shape, extreme, np.int8)
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def clamp(self) -> tuple[int, int]:
        return self.draw(st.sampled_from([(-128, 127), (-128, 127), (0, 127), (-100, 11)]))

    def requant(self, entries: int, fan_in: int) -> Requant:
        rule = self.draw(st.sampled_from(["single", "single", "tflite", "tflite_once"]))
        spread = 10.0 ** self.rng.uniform(-2, 1, entries) / (60 * np.sqrt(fan_in))
        if rule != "single":
            # a channel's scale may be negative in TFLite
            signs = self.rng.choice([1, -1], entries) if self.draw(st.booleans()) else 1
            return arithmetic.tflite_requant(np.minimum(spread, 0.9) * signs, rule)
        large = self.draw(st.sampled_from([0, 0.2, 1]))  # share of channels; above 0.5 the accumulator is shifted left
        return arithmetic.single_requant(np.where(self.rng.random(entries) < large, 400 * spread, spread))

    def add(self, operator: type[Op], shape: tuple[int, ...], inputs: tuple[str, ...] = ("input",), **fields) -> str:
        name = f"t{len(self.ops)}"
        self.tensors[name] = Tensor(name, *shape, 0.07, self.zero())
        self.ops.append(operator(f"op{len(self.ops)}", inputs, name, **fields))
        return name

    def window(self, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]) -> tuple[int, int]:
        """A random output size all of whose windows touch the map."""
        size = []
        for k, s, p, n in zip(kernel, stride, pad, self.source.shape, strict=False):
            largest = (n - 1 + p) // s + 1
            usual = (n + 2 * p - k) // s + 1
            size.append(self.draw(st.sampled_from([largest, max(1, min(usual, largest)), 1])))
        return size[0], size[1]

    def geometry(self) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]:
        draw = self.draw
        square = draw(st.sampled_from([1, 2, 3, 3, 5, 7]))
        kernel = draw(st.sampled_from([(square, square), (square, 3), (1, square)]))
        stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]))
        pad = (draw(st.integers(0, kernel[0] - 1)), draw(st.integers(0, kernel[1] - 1)))
        return kernel, stride, pad, self.window(kernel, stride, pad)

    def conv(self, kernel, stride, pad, size) -> None:
        channels = self.draw(st.integers(1, 9))
        fan_in = kernel[0] * kernel[1] * self.source.channels
        bias = self.rng.integers(-(2**16), 2**16, channels).astype(np.int32)
        self.add(
            Conv, (*size, channels), weights=self.values((channels, *kernel, self.source.channels)), bias=bias,
            requant=self.requant(channels, fan_in), stride=stride, pad=pad, clamp=self.clamp(),
        )  # fmt: skip

    def make(self, kind: str) -> None:
        draw, source = self.draw, self.source
        height, width, channels = source.shape
        match kind:
            case "conv":
                self.conv(*self.geometry())
            case "pointwise":
                stride = draw(st.sampled_from([(1, 1), (2, 2)]))
                self.conv((1, 1), stride, (0, 0), self.window((1, 1), stride, (0, 0)))
            case "dense":
                self.conv((height, width), (1, 1), (0, 0), (1, 1))
            case "depthwise":
                kernel, stride, pad, size = self.geometry()
                bias = self.rng.integers(-(2**16), 2**16, channels).astype(np.int32)
                self.add(
                    Depthwise, (*size, channels), weights=self.values((*kernel, channels)), bias=bias, stride=stride,
                    requant=self.requant(channels, kernel[0] * kernel[1]), pad=pad, clamp=self.clamp(),
                )  # fmt: skip
            case "add":
                self.elementwise_add()
            case "mul":
                self.add(Mul, source.shape, ("input", self.other), requant=self.requant(1, 100), clamp=self.clamp())
            case "gate":
                gate = self.add(GlobalPool, (1, 1, channels), requant=self.requant(1, height * width))
                self.add(Mul, source.shape, (self.other, gate), requant=self.requant(1, 100), clamp=self.clamp())
            case "average" | "max":
                kernel, stride, pad, size = self.geometry()
                tflite = draw(st.booleans())
                counts = arithmetic.single_requant([1.3 / n for n in range(1, kernel[0] * kernel[1] + 1)])
                requant = None if kind == "max" or tflite else counts
                self.add(
                    Pool, (*size, channels), kind=kind, kernel=kernel, stride=stride, pad=pad, requant=requant,
                    clamp=self.clamp(),
                )  # fmt: skip
            case "global":
                requant = draw(st.sampled_from([None, self.requant(1, height * width)]))
                self.add(GlobalPool, (1, 1, channels), requant=requant, clamp=self.clamp())
            case "lookup":
                self.add(Lookup, source.shape, table=self.values((256,)))
            case "concat":
                tables = draw(st.sampled_from([(None, None), (self.values((256,)), None)]))
                self.add(Concat, (height, width, 2 * channels), ("input", self.other), tables=tables)
            case "upsample":
                factor = draw(st.integers(1, 3))
                self.add(Upsample, (height * factor, width * factor, channels), factor=factor)
            case "resize":
                common = gcd(height, width)
                stride = draw(st.sampled_from([n for n in range(1, common + 1) if common % n == 0]))
                up = draw(st.sampled_from([n for n in range(1, 8) if gcd(n, stride) == 1]))
                name = self.add(Resize, (height // stride * up, width // stride * up, channels), stride=stride, up=up)
                self.tensors[name] = replace(self.tensors[name], scale=source.scale, zero_point=source.zero_point)
            case "pad":
                top, left, bottom, right = (draw(st.integers(0, 3)) for _ in range(4))
                size = (height + top + bottom, width + left + right, channels)
                self.add(Pad, size, pad=(top, left), value=self.zero())
            case "softmax":
                table = fixedpoint.softmax_exp_table(draw(st.sampled_from([0.01, 0.1, 0.7])))
                self.add(Softmax, source.shape, exp_table=table)

    def elementwise_add(self) -> None:
        out = Tensor("", 1, 1, 1, 0.07, self.zero())
        scales = [float(10 ** self.rng.uniform(-2, 0)) for _ in range(3)]
        if self.draw(st.booleans()):
            scales[1] = scales[0]
        zeros = [self.source.zero_point, self.tensors[self.other].zero_point, out.zero_point]
        pairs = [value for pair in zip(scales, zeros, strict=True) for value in pair]
        if self.draw(st.booleans()):
            multipliers, shift, offset = arithmetic.add_constants(*pairs)
            fields = {"multipliers": multipliers, "shifts": (shift,), "offset": offset}
        else:
            multipliers, shifts = arithmetic.tflite_add_constants(*scales)
            fields = {"multipliers": multipliers, "shifts": shifts, "rule": "tflite"}
        name = self.add(Add, self.source.shape, ("input", self.other), clamp=self.clamp(), **fields)
        self.tensors[name] = Tensor(name, *self.source.shape, scales[2], out.zero_point)


@st.composite
def operator_networks(draw, count: int = 8) -> tuple[Network, np.ndarray]:
    """A network of `count` random operators side by side, and two images for it."""
    maker = Maker(draw, np.random.default_rng(draw(st.integers(0, 2**32))))
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=count, max_size=count)):
        maker.make(kind)
    outputs = tuple(op.output for op in maker.ops)
    network = Network("operators", "input", outputs, maker.tensors, tuple(maker.ops))
    images = np.stack([maker.values(maker.source.shape), maker.rng.integers(-128, 128, maker.source.shape)])
    return network, images.astype(np.int8)
