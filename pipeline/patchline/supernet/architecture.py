"""One concrete network of a search space, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.network.resize import taking

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class Block:
    """Inverted residual block: 1x1 expansion (none where `expand` is 1), depthwise, 1x1 projection to `width` channels.

    It has a residual exactly where stride is 1 and `width` equals the width before it.
    """

    kernel: int
    expand: int
    width: int
    stride: int


@dataclass(frozen=True)
class Architecture:
    """A network: 3x3 stem of stride 2, inverted residual blocks, 1x1 head, global average pool, classifier."""

    resolution: int  # pixels, the input is square
    stem: int  # channels
    stages: tuple[tuple[Block, ...], ...]
    head: int  # channels before the pool
    classes: int

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order of execution."""
        return tuple(block for stage in self.stages for block in stage)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Architecture:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        stages = tuple(tuple(Block(**block) for block in stage) for stage in data["stages"])
        return Architecture(**{**data, "stages": stages})

    @property
    def label(self) -> str:
        """Short name for tables: r64 s8 | k3e1w8 | k5e3w16 k3e4w16 | ... | h96."""
        stages = [" ".join(f"k{b.kernel}e{b.expand}w{b.width}" for b in stage) for stage in self.stages]
        return " | ".join([f"r{self.resolution} s{self.stem}", *stages, f"h{self.head}"])


def build_network(arch: Architecture, name: str = "candidate", image_size: int | None = None) -> Network:
    """The int8 network of `arch` with weights of zero: all that planning needs (shapes, windows, bytes, MACs).

    It has the operators that quantisation makes of the trained sub-network, one for one, so that a plan found for it
    is the plan of the real network: with `image_size`, that of the prepared images, also the change of size before it.
    """
    builder = NetworkBuilder(arch.resolution, arch.resolution, IMAGE_CHANNELS, seed=None, name=name)
    builder.block("stem")
    x = builder.conv("input", arch.stem, 3, 2)
    for index, block in enumerate(arch.blocks, 1):
        builder.block(f"block{index}")
        x = builder.mbconv(x, block.width, block.kernel, block.stride, block.expand)
    builder.block("head")
    x = builder.conv(x, arch.head)
    x = builder.global_pool(x)
    builder.conv(x, arch.classes, relu=False)
    size = image_size or arch.resolution
    return taking(builder.finish(), size, size)
