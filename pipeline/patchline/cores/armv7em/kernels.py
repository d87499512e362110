"""Which kernel of firmware_template runs an operator on ARMv7E-M, and all that follows from this choice.

Part of the contract with firmware_template/src/kernels. The choice is made here and nowhere else: code generation takes
the C function and the order of weights from it, the memory model the scratch, the estimate of flash the bytes, the
prediction of cycles the terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patchline.cores.armv7em.layout import Order, round_up
from patchline.network.ir import Add, Conv, Depthwise, GlobalPool, Network, Op, Pool, Requant, Resize, Softmax

FIGURES = Path(__file__).parent / "kernel_cycles.json"  # measured on the kernels: `make bench-kernels STORE=1`
PIXELS_PER_BLOCK = 4  # a convolution widens so many windows of inputs to int16 at a time
OUTPUTS_PER_CHUNK = 16  # the 5x5 and 7x7 depthwise kernels gather the columns of so many outputs at a time
SCALE_BYTES = 8  # bias and multiplier of a channel
TFLITE_FAST_SHIFT = 22  # largest right shift: the zero point must not overflow below it
FEW = 1 / 3  # of a depthwise layer's channels may have a shift, and be computed again, before the slow way is faster
_AGAIN = {"depthwise_3s1": 5.5, "depthwise_3s2": 5.0}  # what computing a channel again takes, in channels; measured
_AGAIN_LARGE = 2.0

Terms = tuple[float, ...]

_GATHERING = ("depthwise_5", "depthwise_7")  # gather the columns of a chunk of outputs in scratch
_BLOCKWISE = ("pointwise", "window")  # walk a row in blocks of pixels
_FAMILY_CODE = {"conv": 8000, "depthwise_3": 6500, "depthwise_large": 3600, "resize": 1400}
_OTHER_CODE = 600  # each


class Strip(NamedTuple):
    """Columns of a row call: how many it computes, of how many the window leaves the map, how many it reads."""

    columns: int
    edge: int
    read: int


class KernelChoice(NamedTuple):
    """The kernel of an operator. Equal for many operators, hence hashable.

    `name` and `rule` (of requantisation) find the measured figures. `inputs`: bytes of one window as the kernel reads
    it (padded to words), `pairs`: pairs of output channels.
    """

    name: str
    rule: str
    channels: int
    inputs: int
    pairs: int
    flash_bytes: int  # weights and constants that a pass reads, estimated
    stride: int = 1
    function: str = ""  # in C
    order: Order = "none"  # of the weights
    size: int = 1  # columns of a depthwise window
    widened: int = 0  # bytes of one pixel's window as int16 in scratch
    again: int = 0  # channels that rule `mostly_single` computes a second time

    @property
    def measured_rule(self) -> str:
        """The rule under which its figures were measured."""
        return "single" if self.rule == "mostly_single" else self.rule

    @property
    def gathers(self) -> bool:
        return self.name.startswith(_GATHERING)

    def scratch_bytes(self, columns: int) -> int:
        """Working memory that a row call touches, over at most `columns` positions."""
        if self.name in _BLOCKWISE:
            return self.widened * next(4 - i for i, blocks in enumerate(pixel_blocks(columns)) if blocks)
        if self.gathers:
            outputs = max(sum(output_blocks(chunk)) for chunk in chunks(columns))
            return 4 * ((self.size + 1) // 2) * ((outputs - 1) * self.stride + self.size)  # pairs of rows as int16
        return 0

    def passes(self, columns: int) -> int:
        """How often a row call reads all of the kernel's constants."""
        if self.name in _BLOCKWISE:
            return sum(pixel_blocks(columns))
        return len(chunks(columns)) if self.gathers else 1

    def terms(self, strip: Strip, inside: int, height: int) -> Terms:
        """The terms of one row call's cycles; `inside` of the `height` rows of its window lie in the map."""
        channels: float = self.channels
        inputs, pairs = self.inputs, self.pairs
        if self.again:
            channels += self.again * _AGAIN.get(self.name, _AGAIN_LARGE)
        columns, edge, _ = strip
        border = int(inside < height)
        values = channels * columns
        if self.name == "dense":
            return (1, inputs, pairs, pairs * inputs)
        if self.name in _BLOCKWISE:
            terms: list[float] = [1]
            for blocks in pixel_blocks(columns):
                terms += [blocks, blocks * inputs, blocks * pairs, blocks * pairs * inputs]
            if self.name == "window":
                odd = columns if border else edge  # windows that leave the map are gathered piece by piece
                terms += [odd, odd * inputs]
            return tuple(terms)
        if self.gathers:
            return self._terms_of_gathering(channels, strip, inside, height)
        if self.name.startswith("depthwise"):
            halves = channels * -(-columns // 2)
            return (1, channels, values, halves, channels * edge, border, border * channels, border * values)
        return (1, channels, columns, values, values * inputs, channels * edge, border * values)

    def _terms_of_gathering(self, channels: float, strip: Strip, inside: int, height: int) -> Terms:
        """As `depthwise_dsp.c` works: chunks of outputs; their columns are gathered, then come blocks of five or
        three."""
        walked = chunks(strip.columns)
        needed = sum((outputs - 1) * self.stride + height for outputs in walked)
        unread = (strip.columns - 1) * self.stride + height - strip.read  # beyond the map, on both sides
        blocks = [block for outputs in walked for block in output_blocks(outputs)]
        fives, threes = blocks.count(5), blocks.count(3)
        row_pairs = (inside + 1) // 2
        starts, gathered = channels * len(walked), channels * (needed - unread)
        return (
            1, len(walked), needed, starts, starts * inside, starts * (height - inside), gathered, gathered * inside,
            channels * fives, channels * fives * row_pairs, channels * threes, channels * threes * row_pairs,
        )  # fmt: skip


def choose(network: Network, op: Op) -> KernelChoice:
    """The kernel that runs `op`."""
    output = network.tensors[op.output]
    channels = output.channels
    if isinstance(op, Conv):
        return _conv(network, op)
    if isinstance(op, Depthwise):
        return _depthwise(op)
    if isinstance(op, Pool):
        rule = requant_rule(op.requant, op.clamp) if op.kind == "average" else "single"
        inputs = op.kernel[0] * op.kernel[1]
        return KernelChoice(f"{op.kind}_pool", rule, channels, inputs, channels, 0, function=f"pl_{op.kind}_pool_row")
    if isinstance(op, GlobalPool):
        rule = requant_rule(op.requant, op.clamp)
        return KernelChoice("global_pool", rule, channels, 1, channels, 0, function="pl_global_pool_row")
    if isinstance(op, Resize):
        size = op.rows.kernel
        name = "resize" if channels != 3 else "resize_2x2" if size == 2 else "resize_rgb"
        flash = 2 * op.up * size
        return KernelChoice(name, "single", channels, size * size, channels, flash, function="pl_resize_row")
    name = type(op).__name__.lower()
    rule = op.rule if isinstance(op, Add) else "single"
    function = f"pl_{name}_row" if rule == "single" else f"pl_{name}_tflite_row"
    table = 1024 if isinstance(op, Softmax) else 0
    return KernelChoice(name, rule, channels, len(op.inputs), channels, table, function=function)


def _conv(network: Network, op: Conv) -> KernelChoice:
    """`dense`: one output column and nothing outside the map (fully connected, 1x1 on maps of one column)."""
    source, output = network.tensors[op.inputs[0]], network.tensors[op.output]
    channels, height, width, channels_in = op.weights.shape
    padded = tuple(op.pad) != (0, 0)
    inside = (output.height - 1) * op.stride[0] + height <= source.height and width <= source.width
    if not padded and output.width == 1 and inside:
        name = "dense"  # splits its inputs as it loads them: no scratch
    else:
        name = "pointwise" if (height, width) == (1, 1) and not padded else "window"
    inputs, pairs = height * round_up(width * channels_in, 4), -(-channels // 2)
    whole = round_up(height * width * channels_in, 4)
    order: Order = "split" if name == "dense" or inputs == whole else "flat"  # padding each row costs no products
    return KernelChoice(
        name, requant_rule(op.requant, op.clamp), channels, inputs, pairs, 2 * pairs * (inputs + SCALE_BYTES),
        function=f"pl_conv_{name}", order=order, widened=0 if name == "dense" else 2 * whole,
    )  # fmt: skip


def _depthwise(op: Depthwise) -> KernelChoice:
    """Square windows of 3, 5 and 7 at strides 1 and 2 have kernels of their own; their orders go by the size alone."""
    height, width, channels = op.weights.shape
    stride = op.stride[1]
    square = width if height == width and width in (3, 5, 7) else 0
    special = square and stride in (1, 2)
    name = f"depthwise_{width}s{stride}" if special else "depthwise"
    order: Order = "nine" if square == 3 else "quads" if not square else "sums_even" if stride == 2 else "sums"
    held = 12 if square == 3 else (height + 1) // 2 * ((width + 1) // 2) * 4
    rule = requant_rule(op.requant, op.clamp, by_channel=bool(special))
    again = int(np.count_nonzero(op.requant.shifts)) if rule == "mostly_single" else 0
    return KernelChoice(
        name, rule, channels, height * width, channels, channels * (held + SCALE_BYTES), again=again, stride=stride,
        function=f"pl_{name}" if special else "pl_depthwise_row", order=order, size=width,
    )  # fmt: skip


def requant_rule(requant: Requant | None, clamp: tuple[int, int], by_channel: bool = False) -> str:
    """`single` and `tflite` have short ways in the kernels; `slow` is everything else (`division`: no constants).

    `by_channel` of a kernel that works channel by channel: `mostly_single` where few channels need the slow way."""
    if requant is None:
        return "division"
    if clamp != (-128, 127) or requant.rule == "tflite_once":
        return "slow"
    shifts = requant.shifts
    if requant.rule == "single":
        slow = np.count_nonzero(shifts)
        return "single" if not slow else "mostly_single" if by_channel and slow <= FEW * shifts.size else "slow"
    in_range = (shifts < 0).all() and (shifts >= -TFLITE_FAST_SHIFT).all()
    # the short way takes the sign of the accumulator for that of the product
    return "tflite" if bool(in_range and (requant.multipliers >= 0).all()) else "slow"


def pixel_blocks(columns: int) -> tuple[int, int, int, int]:
    """Blocks of 4, 3, 2 and 1 pixels that the convolutions walk a row in: 5 pixels end it as 3 + 2, 6 as 3 + 3."""
    fours, rest = divmod(columns, PIXELS_PER_BLOCK)
    if fours and rest in (1, 2):
        return (fours - 1, rest, 2 - rest, 0)
    return (fours, int(rest == 3), int(rest == 2), int(rest == 1))


def chunks(columns: int) -> list[int]:
    """Outputs of each chunk of a row that a gathering kernel walks: all where they are few, else multiples of five."""
    found = []
    while columns > OUTPUTS_PER_CHUNK:
        even = -(-columns // -(-columns // OUTPUTS_PER_CHUNK))
        found.append(OUTPUTS_PER_CHUNK if even == OUTPUTS_PER_CHUNK else -(-even // 5) * 5)
        columns -= found[-1]
    return [*found, columns]


def output_blocks(outputs: int) -> list[int]:
    """Blocks of five or three outputs that a chunk is computed in; the last one may compute more than are left."""
    found = []
    while outputs > 0:
        found.append(3 if outputs <= 3 or outputs == 6 else 5)
        outputs -= found[-1]
    return found


def code_bytes(choices: Iterable[KernelChoice]) -> int:
    """Estimated code of the kernels that are linked, each family once."""
    return sum(_FAMILY_CODE.get(family, _OTHER_CODE) for family in {_family(choice) for choice in choices})


def _family(choice: KernelChoice) -> str:
    """Kernels that share their code."""
    name = choice.name
    if name in (*_BLOCKWISE, "dense"):
        return "conv"
    if choice.gathers:
        return "depthwise_large"
    if name.startswith("resize"):
        return "resize"
    return name.rpartition("s")[0] if name.startswith("depthwise_3") else name
