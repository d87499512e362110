"""The supernet: every architecture of a space over one set of shared weights."""

from __future__ import annotations

from dataclasses import astuple
from typing import cast

import torch
from torch import Tensor, nn

from patchline.supernet.architecture import IMAGE_CHANNELS, Architecture, Block
from patchline.supernet.layers import ElasticBlock, ElasticConv
from patchline.supernet.space import Space


class Supernet(nn.Module):
    """Weights of the largest network of `space`; `forward` runs any architecture of it.

    Input: float [N, 3, H, W] in [0, 1] (a pixel divided by 255, nothing else). Output: logits [N, classes].
    """

    def __init__(self, space: Space, classes: int) -> None:
        super().__init__()
        self.space, self.classes = space, classes
        largest = space.largest(classes)
        self.stem = ElasticConv(IMAGE_CHANNELS, largest.stem, 3)
        blocks, width = [], largest.stem
        for stage in space.stages:
            for _ in range(stage.depths[-1]):
                blocks.append(ElasticBlock(width, stage.widths[-1], stage.expands[-1], stage.kernels[-1]))
                width = stage.widths[-1]
        self.blocks = nn.ModuleList(blocks)
        self.head = ElasticConv(width, largest.head)
        self.classifier = nn.Linear(largest.head, classes)

    def pairs(self, arch: Architecture) -> list[tuple[ElasticBlock, Block]]:
        """Every block of `arch` with the elastic block that it is cut from."""
        result: list[tuple[ElasticBlock, Block]] = []
        first = 0
        for stage, blocks in zip(self.space.stages, arch.stages, strict=True):
            layers = cast(list[ElasticBlock], list(self.blocks[first : first + len(blocks)]))
            result += zip(layers, blocks, strict=True)
            first += stage.depths[-1]
        return result

    def forward(self, x: Tensor, arch: Architecture) -> Tensor:
        x = self.stem(x, arch.stem, 3, 2)
        for layer, block in self.pairs(arch):
            x = layer(x, *astuple(block))
        x = self.head(x, arch.head)
        pooled = x.mean((2, 3))
        return torch.nn.functional.linear(pooled, self.classifier.weight[:, : arch.head], self.classifier.bias)
