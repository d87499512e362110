"""Images on their way into a network: exact resizing, seeded batches, mirroring."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchline.network import filters

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@lru_cache(maxsize=64)
def _filter(size: int, new: int) -> Tensor:
    """Weights [new, size] of the filter that a device has in front of its network, whole numbers."""
    return torch.from_numpy(filters.matrix(size, new).copy())


def resize(images: Images, resolution: int) -> Images:
    """uint8 [N, H, W, 3] at `resolution` x `resolution`: the bits that the operator `Resize` gives on the device."""
    if images.shape[1:3] == (resolution, resolution):
        return images
    parts = [_resized(images[i : i + 256], resolution).to(torch.uint8) for i in range(0, len(images), 256)]
    return np.ascontiguousarray(torch.cat(parts).permute(0, 2, 3, 1).numpy())


def _resized(images: Images, resolution: int) -> Tensor:
    """Whole numbers 0..255 as float [N, 3, resolution, resolution]."""
    planes = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous()
    height, width = images.shape[1:3]
    if (height, width) == (resolution, resolution):
        return planes
    sums = _filter(height, resolution) @ planes @ _filter(width, resolution).T
    return sums.add_(filters.ONE**2 / 2).mul_(1 / filters.ONE**2).floor_()


def to_input(images: Images, resolution: int) -> Tensor:
    """Network input [N, 3, resolution, resolution] in [0, 1], channels last in memory, from uint8 [N, H, W, 3]."""
    return _resized(images, resolution).mul_(1 / 255).contiguous(memory_format=torch.channels_last)


def batch_indices(count: int, batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Indices [steps, batch_size] of one epoch: a permutation that depends on `seed` and `epoch` only, rest dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    batch_size = min(batch_size, count)
    steps = count // batch_size
    return order[: steps * batch_size].reshape(steps, batch_size)


def passes(asked: int | Literal["auto"], images: int, batch_size: int, steps: int) -> int:
    """Epochs of training on `images`: what was asked for; `auto` takes as many as make at least `steps` steps.

    A network learns by steps: what a pass over 24,000 images teaches takes twelve passes over 2,000.
    """
    if asked != "auto":
        return asked
    return math.ceil(steps / max(1, images // batch_size))


def mirrored(x: Tensor, rng: np.random.Generator) -> Tensor:
    """About half of the images of the batch [N, 3, H, W] flipped left to right."""
    flip = torch.from_numpy(rng.random(len(x)) < 0.5)
    return torch.where(flip[:, None, None, None], x.flip(3), x)


def batches(images: Images, resolution: int, batch_size: int) -> Iterator[Tensor]:
    """Network inputs of consecutive images."""
    for start in range(0, len(images), batch_size):
        yield to_input(images[start : start + batch_size], resolution)
