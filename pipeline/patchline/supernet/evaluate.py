"""Judging sub-networks: fresh batch normalisation statistics, then accuracy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from patchline.supernet.extract import StaticNet
from patchline.supernet.images import Images, Labels, batches

EVALUATION_BATCH = 128


def recalibrate(net: StaticNet, images: Images, batch_size: int = EVALUATION_BATCH) -> None:
    """Set the batch normalisation statistics of `net` to the averages over `images` (OFA, arXiv 1908.09791)."""
    recalibrate_on(net, batches(images, net.arch.resolution, batch_size))


@torch.no_grad()
def recalibrate_on(net: nn.Module, inputs: Iterable[Tensor]) -> None:
    """`recalibrate` on batches that are network inputs already; leaves `net` in evaluation mode."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    net.train()
    for x in inputs:
        net(x)
    net.eval()
    for norm in norms:
        norm.momentum = 0.1


def accuracy(net: StaticNet, images: Images, labels: Labels) -> float:
    """Share of `images` whose best class is right; `net` is put in evaluation mode."""
    return accuracy_on(net, batches(images, net.arch.resolution, EVALUATION_BATCH), labels)


@torch.no_grad()
def accuracy_on(net: nn.Module, inputs: Iterable[Tensor], labels: Labels) -> float:
    """`accuracy` on batches that are network inputs already, in the order of `labels`."""
    net.eval()
    answers = np.concatenate([net(x).argmax(1).numpy() for x in inputs])
    return float((answers == labels).mean())
