"""Fine-tuning of the winner with its own weights, taught by the labels and by the largest sub-network."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from patchline.data.parts import part
from patchline.data.prepared import Split
from patchline.progress import track
from patchline.supernet import Architecture, StaticNet, Supernet, extract
from patchline.supernet.evaluate import recalibrate
from patchline.supernet.extract import fold
from patchline.supernet.images import Images, batch_indices, mirrored, to_input

BATCH = 96
LEARNING_RATE = 0.002
WEIGHT_DECAY = 0.00002
WARM_UP_STEPS = 20
TEACHER_SHARE = 0.5  # of the loss; the rest are the labels
RECALIBRATION_IMAGES = 2048
AUTO_STEPS = 250  # of `finetune_epochs: auto`


def fine_tune(supernet: Supernet, arch: Architecture, train: Split, epochs: int, seed: int) -> StaticNet:
    """The sub-network `arch` trained on for `epochs`, its normalisation recalibrated; in evaluation mode.

    Seeded. The teacher is the largest network at the same resolution.
    """
    net = extract(supernet, arch)
    recalibration = part(train, RECALIBRATION_IMAGES).images
    teacher = _teacher(supernet, arch, recalibration)
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}], lr=LEARNING_RATE
    )
    order = [batch for epoch in range(epochs) for batch in batch_indices(len(train.images), BATCH, seed + 1, epoch)]
    net.train()
    for step, chosen in enumerate(track(order, "fine-tuning the winner")):
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, len(order))
        x = mirrored(to_input(train.images[chosen], arch.resolution), np.random.default_rng([seed, 2, step]))
        _step(net, teacher, x, torch.from_numpy(train.labels[chosen]), optimiser)
    recalibrate(net, recalibration)
    return net


def _teacher(supernet: Supernet, arch: Architecture, recalibration: Images) -> StaticNet | None:
    """The largest network at the resolution of `arch`; None where that is `arch` itself: it has nothing to teach."""
    largest = supernet.space.largest(supernet.classes, arch.resolution)
    if largest == arch:
        return None
    net = extract(supernet, largest)
    recalibrate(net, recalibration)
    return fold(net)


def _step(
    net: nn.Module, teacher: nn.Module | None, x: torch.Tensor, y: torch.Tensor, optimiser: torch.optim.Optimizer
) -> None:
    logits = net(x)
    loss = F.cross_entropy(logits, y)
    if teacher is not None:
        with torch.no_grad():
            answers = teacher(x).softmax(1)
        loss = TEACHER_SHARE * F.cross_entropy(logits, answers) + (1 - TEACHER_SHARE) * loss
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _learning_rate(step: int, total: int) -> float:
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / max(1, total - WARM_UP_STEPS)))
