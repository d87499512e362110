"""Elastic layers: one weight tensor of the largest size, of which a sub-network uses the first channels and the middle
of the kernel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ElasticConv(nn.Module):
    """Convolution without bias followed by batch normalisation with the statistics of the batch.

    Weights are shared as in BigNAS (arXiv 2003.11142): channels are cut from the front, kernels from the middle. No
    running statistics are kept, for they would mix those of different sub-networks: see `evaluate.recalibrate`.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, *, depthwise: bool = False) -> None:
        super().__init__()
        self.depthwise = depthwise
        fan_out = kernel * kernel * (1 if depthwise else channels_out)
        shape = (channels_out, 1 if depthwise else channels_in, kernel, kernel)
        self.weight = nn.Parameter(torch.randn(shape) * math.sqrt(2.0 / fan_out))
        self.gain = nn.Parameter(torch.ones(channels_out))
        self.shift = nn.Parameter(torch.zeros(channels_out))

    def sliced(self, channels_in: int, channels_out: int, kernel: int) -> Tensor:
        """Weights [channels_out, channels_in or 1, kernel, kernel] of a sub-network."""
        edge = (self.weight.shape[-1] - kernel) // 2
        inner = slice(edge, edge + kernel)
        return self.weight[:channels_out, : 1 if self.depthwise else channels_in, inner, inner]

    def forward(self, x: Tensor, channels_out: int, kernel: int = 1, stride: int = 1, relu: bool = True) -> Tensor:
        weight = self.sliced(x.shape[1], channels_out, kernel)
        groups = channels_out if self.depthwise else 1
        x = F.conv2d(x, weight, None, stride, (kernel - 1) // 2, groups=groups)
        x = F.batch_norm(x, None, None, self.gain[:channels_out], self.shift[:channels_out], training=True)
        return F.relu_(x) if relu else x


class ElasticBlock(nn.Module):
    """Inverted residual block of the largest size; see `architecture.Block`."""

    def __init__(self, width_in: int, width: int, expand: int, kernel: int) -> None:
        super().__init__()
        middle = width_in * expand
        self.expand = ElasticConv(width_in, middle) if expand > 1 else None
        self.depthwise = ElasticConv(middle, middle, kernel, depthwise=True)
        self.project = ElasticConv(middle, width)

    def forward(self, x: Tensor, kernel: int, expand: int, width: int, stride: int) -> Tensor:
        middle = x.shape[1] * expand
        y = self.expand(x, middle) if self.expand is not None and expand > 1 else x
        y = self.depthwise(y, middle, kernel, stride)
        y = self.project(y, width, relu=False)
        return x + y if stride == 1 and width == x.shape[1] else y
