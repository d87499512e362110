"""Which kernel of firmware_template runs a convolution, in which pieces it walks a row, and what scratch it touches.

Part of the contract with firmware_template/src/kernels: code generation takes the kernel from here, the memory model
the scratch, the prediction of cycles the pieces.
"""

from __future__ import annotations

from typing import Literal

from patchline.network.ir import Conv, Depthwise, Network, Op, Tensor

PIXELS_PER_BLOCK = 4  # a convolution widens so many windows of inputs to int16 at a time
OUTPUTS_PER_CHUNK = 16  # the 5x5 and 7x7 depthwise kernels gather the columns of so many outputs at a time

ConvKernel = Literal["dense", "pointwise", "window"]


def conv_kernel(op: Conv, source: Tensor, output: Tensor) -> ConvKernel:
    """`dense`: one output column and nothing outside the map (fully connected, 1x1 on maps of one column)."""
    _, kernel_h, kernel_w, _ = op.weights.shape
    inside = (output.height - 1) * op.stride[0] + kernel_h <= source.height and kernel_w <= source.width
    if tuple(op.pad) != (0, 0):
        return "window"
    if output.width == 1 and inside:
        return "dense"
    return "pointwise" if (kernel_h, kernel_w) == (1, 1) else "window"


def gathers(op: Depthwise) -> bool:
    """Has the kernel that gathers columns in scratch: 5x5 and 7x7."""
    kernel_h, kernel_w, _ = op.weights.shape
    return kernel_h == kernel_w and kernel_w in (5, 7) and op.stride[1] in (1, 2)


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


def scratch_bytes(network: Network, op: Op, columns: int) -> int:
    """Working memory that a call of the operator's kernel touches, over at most `columns` positions."""
    if isinstance(op, Conv):
        if conv_kernel(op, network.tensors[op.inputs[0]], network.tensors[op.output]) == "dense":
            return 0  # splits its inputs as it loads them
        _, kernel_h, kernel_w, channels = op.weights.shape
        pixels = next(4 - i for i, blocks in enumerate(pixel_blocks(columns)) if blocks)
        return pixels * (-(-kernel_h * kernel_w * channels // 4) * 4) * 2
    if isinstance(op, Depthwise) and gathers(op):
        kernel_h, kernel_w, _ = op.weights.shape
        outputs = max(sum(output_blocks(chunk)) for chunk in chunks(columns))
        return 4 * ((kernel_h + 1) // 2) * ((outputs - 1) * op.stride[1] + kernel_w)  # pairs of rows as int16
    return 0
