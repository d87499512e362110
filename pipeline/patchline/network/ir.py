"""Intermediate representation of an int8 network.

A `Network` is a topologically ordered tuple of operators over named int8 tensors in HWC layout (batch 1). Every
operator computes one output row from a window of input rows; `Window` says which, and that is all the scheduler needs.
The exact integer formulas of every operator stand in `arithmetic.py`, executed by `reference.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from patchline.network import filters
from patchline.network.contract import InputContract, guessed

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]

Rule = Literal["single", "tflite", "tflite_once"]
"""Rounding rule of a requantisation: `single` is Patchline's own (one 64-bit product, one rounding), `tflite` is
TensorFlow Lite's reference rule (doubling high multiply, then a rounding shift); `tflite_once` takes constants of the
same form but rounds once, halves up: so TensorFlow Lite's fully connected kernel, which rounds in float64, is met."""


class NetworkError(ValueError):
    """A network that breaks a rule of the representation; the message names the operator."""


@dataclass(frozen=True)
class Tensor:
    """An int8 activation of shape (height, width, channels); real value = scale * (q - zero_point)."""

    name: str
    height: int
    width: int
    channels: int
    scale: float
    zero_point: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def bytes(self) -> int:
        return self.height * self.width * self.channels


@dataclass(frozen=True)
class Window:
    """Rows (or columns) of the input that one output row (or column) needs.

    Output y reads inputs `y * stride // up - pad ... + kernel - 1`; what lies outside the tensor is padding.
    """

    kernel: int = 1
    stride: int = 1
    pad: int = 0  # at the top (left); the bottom (right) padding follows from the output size
    up: int = 1  # outputs for every `stride` inputs: a factor of enlargement, or with `stride` a ratio

    def first(self, y: int) -> int:
        return y * self.stride // self.up - self.pad

    def input_range(self, lo: int, hi: int, size: int) -> tuple[int, int]:
        """Input range [lo', hi') inside [0, size) that the outputs [lo, hi) read; empty stays empty."""
        if hi <= lo:
            return (0, 0)
        start = max(0, self.first(lo))
        stop = min(size, self.first(hi - 1) + self.kernel)
        return (start, stop) if stop > start else (0, 0)


@dataclass(frozen=True, eq=False)
class Requant:
    """Per-channel integer rescaling of an int32 accumulator to int8 (see `arithmetic.requantise`).

    `multipliers` and `shifts` are int32 of length channels (or 1). Rule `single`: a shift is a left shift >= 0 applied
    to the accumulator before the 32x32 high multiply. Rules `tflite*`: TFLite's own (Q31 multiplier, which is negative
    where the scale of a channel's weights is; signed shift).
    """

    multipliers: Int32Array
    shifts: Int32Array
    rule: Rule = "single"


@dataclass(frozen=True, eq=False)
class Op:
    """What every operator has. `block` is the label under which memory and latency are reported."""

    name: str
    inputs: tuple[str, ...]
    output: str
    block: str = field(default="", kw_only=True)

    @property
    def rows(self) -> Window:
        """Window in the vertical direction; the same for every input."""
        return Window()

    @property
    def cols(self) -> Window:
        return Window()


@dataclass(frozen=True, eq=False)
class Conv(Op):
    """Dense convolution, pointwise convolution (kernel 1x1) and fully connected (kernel = the whole input map).

    acc = bias + sum(weights * (x - z_x)) with padding contributing nothing; q = clamp(requantise(acc) + z_y, *clamp).
    """

    weights: Int8Array  # [channels_out, kernel_h, kernel_w, channels_in]
    bias: Int32Array  # [channels_out], at scale s_x * s_w
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)  # top, left
    clamp: tuple[int, int] = (-128, 127)

    @property
    def rows(self) -> Window:
        return Window(self.weights.shape[1], self.stride[0], self.pad[0])

    @property
    def cols(self) -> Window:
        return Window(self.weights.shape[2], self.stride[1], self.pad[1])


@dataclass(frozen=True, eq=False)
class Depthwise(Op):
    """Depthwise convolution with multiplier 1; arithmetic as `Conv`."""

    weights: Int8Array  # [kernel_h, kernel_w, channels]
    bias: Int32Array
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    clamp: tuple[int, int] = (-128, 127)

    @property
    def rows(self) -> Window:
        return Window(self.weights.shape[0], self.stride[0], self.pad[0])

    @property
    def cols(self) -> Window:
        return Window(self.weights.shape[1], self.stride[1], self.pad[1])


@dataclass(frozen=True, eq=False)
class Add(Op):
    """Elementwise sum of two tensors of the same shape.

    Rule `single`: q = clamp((a * m[0] + b * m[1] + offset) >> shift), all in int32; `offset` holds the zero points and
    the rounding half (see `arithmetic.add_constants`). Rule `tflite`: multipliers and shifts of (input 1, input 2,
    output) with TFLite's left shift of 20.
    """

    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]  # single: (shift,); tflite: one per multiplier
    offset: int = 0  # rule single only
    rule: Rule = "single"
    clamp: tuple[int, int] = (-128, 127)


@dataclass(frozen=True, eq=False)
class Mul(Op):
    """Product of `inputs[0]` (H, W, C) with `inputs[1]` of the same shape or (1, 1, C) (squeeze-and-excitation).

    acc = (a - z_a) * (b - z_b), then requantise per tensor.
    """

    requant: Requant
    clamp: tuple[int, int] = (-128, 127)


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """Average or maximum over a window; padding never counts.

    Average with `requant`: acc = sum(x - z_x) over the cells inside the map, requantised (by its rule) with the
    multiplier of their count (entry count-1). Without: q = sum(x) / count, rounded to nearest with halves away from
    zero (`arithmetic.rounded_division`; TFLite's average pooling, where input and output share their quantisation).
    """

    kind: Literal["average", "max"]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    requant: Requant | None = None
    clamp: tuple[int, int] = (-128, 127)

    @property
    def rows(self) -> Window:
        return Window(self.kernel[0], self.stride[0], self.pad[0])

    @property
    def cols(self) -> Window:
        return Window(self.kernel[1], self.stride[1], self.pad[1])


@dataclass(frozen=True, eq=False)
class GlobalPool(Op):
    """Average over the whole map to (1, 1, C): int32 sums per channel, filled row by row, then one requantisation.

    acc = sum(x) - H * W * z_x. It is the one operator that keeps state between rows (4 * C bytes). Without `requant`:
    q = sum(x) / (H * W) as in `Pool` (TFLite's average pooling over the whole map).
    """

    requant: Requant | None
    clamp: tuple[int, int] = (-128, 127)


@dataclass(frozen=True, eq=False)
class Lookup(Op):
    """Elementwise table: q = table[x + 128]. Sigmoid, HardSwish, Relu at another scale, Quantize, Concat's rescale."""

    table: Int8Array  # [256]


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Joins tensors of the same height and width along channels; each input goes through its own table (or none)."""

    tables: tuple[Int8Array | None, ...]


@dataclass(frozen=True, eq=False)
class Upsample(Op):
    """Nearest-neighbour enlargement by `factor` in both directions."""

    factor: int = 2

    @property
    def rows(self) -> Window:
        return Window(up=self.factor)

    @property
    def cols(self) -> Window:
        return Window(up=self.factor)


@dataclass(frozen=True, eq=False)
class Resize(Op):
    """A picture at another size: `up` outputs for every `stride` inputs, in both directions.

    q = (sum(weights_y * weights_x * x) + 2^15) >> 16, with the whole weights of `filters.taps`, which sum to 2^8 in
    each direction; beyond the border its nearest pixel counts. Input and output share their quantisation.
    """

    stride: int
    up: int

    @property
    def rows(self) -> Window:
        pad, weights = filters.taps(self.stride, self.up)
        return Window(weights.shape[1], self.stride, pad, self.up)

    @property
    def cols(self) -> Window:
        return self.rows


@dataclass(frozen=True, eq=False)
class Pad(Op):
    """Spatial padding with a constant int8 `value`; used where it cannot be folded into the next operator."""

    pad: tuple[int, int]  # top, left; bottom and right follow from the output size
    value: int

    @property
    def rows(self) -> Window:
        return Window(pad=self.pad[0])

    @property
    def cols(self) -> Window:
        return Window(pad=self.pad[1])


@dataclass(frozen=True, eq=False)
class Softmax(Op):
    """Softmax over channels at each position as TFLite defines it; output scale 1/256, zero point -128.

    `exp_table` is int32 [256]: exp(-s * d) times 2^31 (saturated) for the distance d = max - x in input steps; the
    rest, the same under both rules, is `fixedpoint.softmax`.
    """

    exp_table: Int32Array


@dataclass(frozen=True, eq=False)
class Network:
    """An int8 network: one input, one or more outputs, operators in execution order.

    `declared` is what is known of the input beyond its tensor; without it `contract` is guessed from the tensor.
    """

    name: str
    input: str
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    declared: InputContract | None = None

    @property
    def contract(self) -> InputContract:
        """What the input means."""
        source = self.tensors[self.input]
        return self.declared or guessed(source.shape, source.scale, source.zero_point)

    def __post_init__(self) -> None:
        known = {self.input}
        for op in self.ops:
            for tensor in op.inputs:
                if tensor not in known:
                    raise NetworkError(f"{op.name}: input tensor '{tensor}' is not produced before it is used")
            if op.output in known:
                raise NetworkError(f"{op.name}: tensor '{op.output}' is produced twice")
            known.add(op.output)
        for name in (*known, *self.outputs):
            if name not in self.tensors or name not in known:
                raise NetworkError(f"tensor '{name}' has no shape or no producer")
        if self.declared is not None:
            source, said = self.tensors[self.input], self.declared
            if (said.shape, said.scale, said.zero_point) != (source.shape, source.scale, source.zero_point):
                raise NetworkError(f"tensor '{self.input}' is not what the network's input contract says")

    def consumers(self, tensor: str) -> tuple[int, ...]:
        """Indices of the operators that read `tensor`, in execution order."""
        return tuple(i for i, op in enumerate(self.ops) if tensor in op.inputs)

    def macs_per_position(self, op: Op) -> int:
        """Multiply-accumulates of one output position (all channels). Only convolutions count, as in the literature."""
        if isinstance(op, Conv):
            return int(op.weights.size)
        if isinstance(op, Depthwise):
            return int(op.weights.size)
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, layer by layer (nothing computed twice)."""
        return sum(
            self.macs_per_position(op) * self.tensors[op.output].height * self.tensors[op.output].width
            for op in self.ops
        )
