"""Builds int8 networks operator by operator, with seeded random weights and plausible scales.

Used wherever only the structure matters (planning, search, tests, benchmarks): the scale of every output is chosen so
that a random input spreads over the int8 range instead of saturating, hence bit-exactness tests on such networks mean
something.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from patchline.network import arithmetic, filters
from patchline.network.contract import PIXEL_SCALE, PIXEL_ZERO
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
    Pool,
    Requant,
    Resize,
    Tensor,
    Upsample,
)


def same_pad(kernel: int) -> int:
    return (kernel - 1) // 2


class NetworkBuilder:
    """Adds operators to a growing network; every method returns the name of the tensor it made.

    `seed=None` fills the weights with zeros, which is quicker where only shapes are asked for.
    """

    def __init__(self, height: int, width: int, channels: int, seed: int | None = 0, name: str = "network") -> None:
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._name = name
        self._block = ""
        self._ops: list[Op] = []
        self._tensors = {"input": Tensor("input", height, width, channels, PIXEL_SCALE, PIXEL_ZERO)}

    def block(self, label: str) -> None:
        """Operators added from now on are reported under `label`."""
        self._block = label

    def tensor(self, name: str) -> Tensor:
        return self._tensors[name]

    def finish(self, *outputs: str) -> Network:
        """The finished network; without `outputs` the last tensor is the output."""
        return Network(self._name, "input", outputs or (self._ops[-1].output,), dict(self._tensors), tuple(self._ops))

    # --- operators -------------------------------------------------------------------------------------------------

    def conv(
        self, x: str, channels: int, kernel: int | tuple[int, int] = 1, stride: int = 1, *, pad: int | None = None,
        relu: bool = True,
    ) -> str:  # fmt: skip
        """Convolution with `same`-style padding unless `pad` is given; `relu` fixes the output zero point at -128."""
        source = self._tensors[x]
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (same_pad(kh), same_pad(kw)) if pad is None else (pad, pad)
        weights = self._weights((channels, kh, kw, source.channels))
        fan_in = kh * kw * source.channels
        requant, out = self._output(source, fan_in, channels, (kh, kw), (stride, stride), pads, relu)
        bias = self._bias(channels, fan_in)
        return self._add(
            Conv(
                self._op_name("conv"), (x,), out.name, weights, bias, requant, (stride, stride), pads, block=self._block
            ),
            out,
        )

    def depthwise(self, x: str, kernel: int, stride: int = 1, *, pad: int | None = None, relu: bool = True) -> str:
        source = self._tensors[x]
        pads = (same_pad(kernel),) * 2 if pad is None else (pad, pad)
        weights = self._weights((kernel, kernel, source.channels))
        fan_in = kernel * kernel
        requant, out = self._output(source, fan_in, source.channels, (kernel,) * 2, (stride,) * 2, pads, relu)
        bias = self._bias(source.channels, fan_in)
        return self._add(
            Depthwise(
                self._op_name("dw"), (x,), out.name, weights, bias, requant, (stride,) * 2, pads, block=self._block
            ),
            out,
        )

    def add(self, a: str, b: str) -> str:
        ta, tb = self._tensors[a], self._tensors[b]
        scale, zero = float(np.hypot(ta.scale, tb.scale)), 3
        multipliers, shift, offset = arithmetic.add_constants(
            ta.scale, ta.zero_point, tb.scale, tb.zero_point, scale, zero
        )
        out = replace(ta, name=self._tensor_name(), scale=scale, zero_point=zero)
        op = Add(self._op_name("add"), (a, b), out.name, multipliers, (shift,), offset, block=self._block)
        return self._add(op, out)

    def mul(self, x: str, gate: str) -> str:
        source, factor = self._tensors[x], self._tensors[gate]
        scale = source.scale * factor.scale * 128
        out = replace(source, name=self._tensor_name(), scale=scale, zero_point=-2)
        requant = arithmetic.single_requant(source.scale * factor.scale / scale)
        return self._add(Mul(self._op_name("mul"), (x, gate), out.name, requant, block=self._block), out)

    def concat(self, *inputs: str) -> str:
        """Channels one behind the other, at the scale of the first."""
        sources = [self._tensors[name] for name in inputs]
        out = replace(sources[0], name=self._tensor_name(), channels=sum(t.channels for t in sources))
        op = Concat(self._op_name("concat"), inputs, out.name, (None,) * len(inputs), block=self._block)
        return self._add(op, out)

    def pool(self, x: str, kind: Literal["average", "max"], kernel: int, stride: int = 1, pad: int = 0) -> str:
        source = self._tensors[x]
        height, width = (_out_size(n, kernel, stride, pad) for n in (source.height, source.width))
        out = Tensor(self._tensor_name(), height, width, source.channels, source.scale, source.zero_point)
        requant = (
            arithmetic.single_requant([1 / n for n in range(1, kernel * kernel + 1)]) if kind == "average" else None
        )
        op = Pool(
            self._op_name("pool"), (x,), out.name, kind, (kernel,) * 2, (stride,) * 2, (pad,) * 2, requant,
            block=self._block,
        )  # fmt: skip
        return self._add(op, out)

    def global_pool(self, x: str) -> str:
        source = self._tensors[x]
        scale = source.scale / 2
        out = Tensor(self._tensor_name(), 1, 1, source.channels, scale, source.zero_point)
        requant = arithmetic.single_requant(source.scale / scale / (source.height * source.width))
        return self._add(GlobalPool(self._op_name("gap"), (x,), out.name, requant, block=self._block), out)

    def lookup(self, x: str) -> str:
        """A seeded random table: any elementwise function."""
        out = replace(self._tensors[x], name=self._tensor_name())
        table = np.arange(-128, 128) if self._rng is None else self._rng.integers(-128, 128, 256)
        op = Lookup(self._op_name("lookup"), (x,), out.name, table.astype(np.int8), block=self._block)
        return self._add(op, out)

    def upsample(self, x: str, factor: int = 2) -> str:
        source = self._tensors[x]
        out = replace(source, name=self._tensor_name(), height=source.height * factor, width=source.width * factor)
        return self._add(Upsample(self._op_name("up"), (x,), out.name, factor, block=self._block), out)

    def resize(self, x: str, height: int, width: int) -> str:
        """The picture at another size; both directions change by the same ratio."""
        source = self._tensors[x]
        stride, up = filters.ratio(source.height, height)
        if (stride, up) != filters.ratio(source.width, width):
            raise ValueError(f"{source.height} x {source.width} and {height} x {width} have different proportions")
        out = replace(source, name=self._tensor_name(), height=height, width=width)
        return self._add(Resize(self._op_name("resize"), (x,), out.name, stride, up, block=self._block), out)

    def mbconv(self, x: str, channels: int, kernel: int, stride: int, expand: float, mid: int | None = None) -> str:
        """Inverted residual block: expand 1x1, depthwise, project 1x1 and, where the shapes allow it, a residual."""
        source = self._tensors[x]
        width = mid or round(source.channels * expand)
        y = x if width == source.channels else self.conv(x, width)
        y = self.depthwise(y, kernel, stride)
        y = self.conv(y, channels, relu=False)
        return self.add(x, y) if stride == 1 and channels == source.channels else y

    # --- inner parts -----------------------------------------------------------------------------------------------

    def _add(self, op: Op, out: Tensor) -> str:
        self._ops.append(op)
        self._tensors[out.name] = out
        return out.name

    def _op_name(self, kind: str) -> str:
        return f"{kind}{len(self._ops)}"

    def _tensor_name(self) -> str:
        return f"t{len(self._ops)}"

    def _weights(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._rng is None:
            return np.zeros(shape, dtype=np.int8)
        return self._rng.integers(-127, 128, shape, dtype=np.int8)

    def _bias(self, channels: int, fan_in: int) -> np.ndarray:
        if self._rng is None:
            return np.zeros(channels, dtype=np.int32)
        spread = int(2000 * np.sqrt(fan_in))
        return self._rng.integers(-spread, spread + 1, channels).astype(np.int32)

    def _output(
        self, source: Tensor, fan_in: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int],
        pad: tuple[int, int], relu: bool,
    ) -> tuple[Requant, Tensor]:  # fmt: skip
        """Output tensor and requantisation: a random accumulator (standard deviation about 73 * 60 * sqrt(fan_in))
        lands on about 50 steps of the output."""
        spread = 73.0 * 60.0 * np.sqrt(fan_in)
        ratios = np.full(channels, 50.0 / spread)
        if self._rng is not None:  # per-channel weights scales differ
            ratios = ratios * self._rng.uniform(0.6, 1.4, channels)
        height, width = (_out_size(n, k, s, p) for n, k, s, p in zip(source.shape, kernel, stride, pad, strict=False))
        zero = -128 if relu else 5
        scale = source.scale * spread / 50.0 / 127.0
        out = Tensor(self._tensor_name(), height, width, channels, float(scale), zero)
        return arithmetic.single_requant(ratios), out


def _out_size(size: int, kernel: int, stride: int, pad: int) -> int:
    out = (size + 2 * pad - kernel) // stride + 1
    if out < 1:
        raise ValueError(f"a map of {size} is too small for kernel {kernel} with padding {pad}")
    return out
