"""Receptive-field redistribution of a fixed inverted-residual network (MCUNetV2, section 3.2 and figure 5).

The overlap of patches grows with the receptive field of the patch stage. The variant shrinks it there (the first
depthwise becomes 1x1, one repeated block goes) and gives the freed multiply-accumulates to later stages as further
blocks. Weights are new: the variant has to be trained, so what comes back is a structure to plan and to search from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from patchline.errors import UserError
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Add, Conv, Depthwise, GlobalPool, Network, Op

SLACK = 0.01  # MACs may exceed the original's by this share


@dataclass(frozen=True)
class Block:
    """One labelled block: a convolution (`mid` 0) or an inverted residual."""

    channels: int
    kernel: int
    stride: int
    mid: int
    residual: bool
    height: int  # of its output

    @property
    def repeatable(self) -> bool:
        """Can be left out or put in again without changing any other shape."""
        return self.residual and self.stride == 1


def redistribute(network: Network, patch_blocks: int | None = None) -> tuple[Network, int]:
    """The redistributed variant at about equal MACs, and how many of its first blocks are the patch stage.

    `patch_blocks` (the stem counts as one) defaults to the blocks before the map is an eighth of the input.
    Raises UserError where the network is not a chain of inverted residuals.
    """
    blocks = [_parse(network, ops) for ops in _by_block(network)]
    body = [b for b in blocks if b is not None]
    if patch_blocks is None:
        eighth = -(-network.tensors[network.input].height // 8)
        patch_blocks = next((i + 1 for i, b in enumerate(body) if b.height <= eighth), len(body))
    if not 2 <= patch_blocks < len(body):
        raise UserError(f"{network.name}: {patch_blocks} blocks cannot be the patch stage of {len(body)} blocks")
    stage, later = body[:patch_blocks], body[patch_blocks:]
    stage = _shrink(stage)
    budget = network.macs * (1 + SLACK)
    macs = _build(network, stage + later).macs
    while True:
        grown = [[*later[: i + 1], b, *later[i + 1 :]] for i, b in enumerate(later) if b.repeatable]
        priced = [(_build(network, stage + g).macs, g) for g in grown]
        fitting = [(m, g) for m, g in priced if macs < m <= budget]
        if not fitting:
            break
        # the dearest block that still fits: few blocks added, as in the paper's 3,4,3,4,1 for MobileNetV2
        macs, later = max(fitting, key=lambda found: found[0])
    return _build(network, stage + later), len(stage)


def _shrink(stage: list[Block]) -> list[Block]:
    """1x1 for the first depthwise and, where a block is repeated, one repetition fewer (the last one)."""
    first = next((i for i, b in enumerate(stage) if b.mid and b.stride == 1), None)
    out = [replace(b, kernel=1) if i == first else b for i, b in enumerate(stage)]
    last = next((i for i in reversed(range(len(out))) if out[i].repeatable and i != first), None)
    return [b for i, b in enumerate(out) if i != last]


def _by_block(network: Network) -> list[list[Op]]:
    groups: dict[str, list[Op]] = {}
    for op in network.ops:
        groups.setdefault(op.block, []).append(op)
    return list(groups.values())


def _parse(network: Network, ops: list[Op]) -> Block | None:
    """The block's shape; None for the classifier behind the global pool."""
    if isinstance(ops[0], GlobalPool):
        return None
    out = network.tensors[ops[-1].output]
    kinds = [type(op) for op in ops]
    if kinds == [Conv]:
        return Block(out.channels, ops[0].rows.kernel, ops[0].rows.stride, 0, False, out.height)
    core = kinds[1:] if kinds[0] is Conv else kinds
    if core not in ([Depthwise, Conv], [Depthwise, Conv, Add]):
        names = ", ".join(op.name for op in ops)
        raise UserError(
            f"{network.name}: operators {names} are no inverted residual block (1x1, depthwise, 1x1); "
            "redistribution works on MobileNetV2-like chains"
        )
    depthwise = next(op for op in ops if isinstance(op, Depthwise))
    mid = network.tensors[depthwise.output].channels
    return Block(out.channels, depthwise.rows.kernel, depthwise.rows.stride, mid, core[-1] is Add, out.height)


def _build(network: Network, blocks: list[Block]) -> Network:
    source = network.tensors[network.input]
    b = NetworkBuilder(source.height, source.width, source.channels, None, f"{network.name}-rd")
    x = network.input
    for i, block in enumerate(blocks):
        b.block("stem" if i == 0 else f"block{i}")
        if block.mid == 0:
            x = b.conv(x, block.channels, block.kernel, block.stride)
            continue
        y = x if b.tensor(x).channels == block.mid else b.conv(x, block.mid)
        y = b.conv(b.depthwise(y, block.kernel, block.stride), block.channels, relu=False)
        x = b.add(x, y) if block.residual else y
    b.block("classifier")
    classes = network.tensors[network.outputs[0]].channels
    return b.finish(b.conv(b.global_pool(x), classes, relu=False))
