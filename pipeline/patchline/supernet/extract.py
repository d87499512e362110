"""A sub-network as a plain static net, independent of the supernet."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from patchline.supernet.architecture import IMAGE_CHANNELS, Architecture, Block
from patchline.supernet.layers import ElasticConv
from patchline.supernet.model import Supernet


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, where asked for, ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        relu: bool = True,
    ) -> None:
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(channels_out)]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class StaticBlock(nn.Module):
    """Inverted residual block of fixed size."""

    def __init__(self, width_in: int, block: Block) -> None:
        super().__init__()
        middle = width_in * block.expand
        self.expand = ConvNorm(width_in, middle) if block.expand > 1 else None
        self.depthwise = ConvNorm(middle, middle, block.kernel, block.stride, groups=middle)
        self.project = ConvNorm(middle, block.width, relu=False)
        self.residual = block.stride == 1 and width_in == block.width

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x) if self.expand is not None else x
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class StaticNet(nn.Module):
    """The network of an `Architecture`: float [N, 3, H, W] in [0, 1] to logits [N, classes]."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.stem = ConvNorm(IMAGE_CHANNELS, arch.stem, 3, 2)
        width, blocks = arch.stem, []
        for block in arch.blocks:
            blocks.append(StaticBlock(width, block))
            width = block.width
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(width, arch.head)
        self.classifier = nn.Linear(arch.head, arch.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))


@torch.no_grad()
def extract(supernet: Supernet, arch: Architecture) -> StaticNet:
    """The sub-network `arch` with its own copy of the weights.

    Its batch normalisation has no statistics yet: call `evaluate.recalibrate` before judging it.
    """
    net = StaticNet(arch)
    _copy(supernet.stem, net.stem)
    for (layer, _), block in zip(supernet.pairs(arch), net.blocks, strict=True):
        if layer.expand is not None and block.expand is not None:
            _copy(layer.expand, block.expand)  # type: ignore[arg-type]
        _copy(layer.depthwise, block.depthwise)  # type: ignore[arg-type]
        _copy(layer.project, block.project)  # type: ignore[arg-type]
    _copy(supernet.head, net.head)
    net.classifier.weight.copy_(supernet.classifier.weight[:, : arch.head])
    net.classifier.bias.copy_(supernet.classifier.bias)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fold(net: StaticNet) -> StaticNet:
    """A copy in evaluation mode whose convolutions have a bias and no batch normalisation: what quantisation wants."""
    folded = copy.deepcopy(net).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm):
            module[0] = nn.utils.fuse_conv_bn_eval(cast(nn.Conv2d, module[0]), cast(nn.BatchNorm2d, module[1]))
            module[1] = nn.Identity()
    return folded


def _copy(elastic: ElasticConv, static: ConvNorm) -> None:
    conv, norm = static[0], static[1]
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    conv.weight.copy_(elastic.sliced(conv.in_channels, conv.out_channels, conv.kernel_size[0]))
    norm.weight.copy_(elastic.gain[: conv.out_channels])
    norm.bias.copy_(elastic.shift[: conv.out_channels])
