"""Judging sub-networks: fresh batch normalisation statistics, then accuracy."""

from __future__ import annotations

import torch
from torch import nn

from patchline.supernet.extract import StaticNet
from patchline.supernet.images import Images, Labels, batches

EVALUATION_BATCH = 128


@torch.no_grad()
def recalibrate(net: StaticNet, images: Images, batch_size: int = EVALUATION_BATCH) -> None:
    """Set the batch normalisation statistics of `net` to the averages over `images` (OFA, arXiv 1908.09791)."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    net.train()
    for x in batches(images, net.arch.resolution, batch_size):
        net(x)
    net.eval()
    for norm in norms:
        norm.momentum = 0.1


@torch.no_grad()
def accuracy(net: StaticNet, images: Images, labels: Labels) -> float:
    """Share of `images` whose best class is right; `net` is put in evaluation mode."""
    net.eval()
    right = 0
    for start, x in enumerate(batches(images, net.arch.resolution, EVALUATION_BATCH)):
        expected = torch.from_numpy(labels[start * EVALUATION_BATCH : (start + 1) * EVALUATION_BATCH])
        right += int((net(x).argmax(1) == expected).sum())
    return right / len(images)
