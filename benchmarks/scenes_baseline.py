"""How hard are the prepared images? Train one plain network of about 30,000 parameters and print its accuracy.

    python benchmarks/scenes_baseline.py [--images 24000] [--epochs 6]

Reads data/prepared (`dvc repro prepare`). The last line is what the documentation quotes.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

from patchline.data import load_manifest, load_split
from patchline.data.parts import part
from patchline.progress import track

BATCH = 96


def network(classes: int) -> nn.Module:
    """Five plain 3x3 convolutions, four with stride 2, and a linear layer: 29,386 parameters for two classes."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 8, 2), (8, 16, 2), (16, 32, 2), (32, 32, 2), (32, 48, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes))


def batch_of(images: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Images uint8 [N, H, W, 3] -> float [B, 3, H, W] in -1..1."""
    return images[indices].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24000, help="training images to use")
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()

    torch.manual_seed(1)
    train, val, manifest = part(load_split("train"), args.images), load_split("val"), load_manifest()
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    model = network(len(manifest.classes)).to(memory_format=torch.channels_last)
    steps = args.epochs * (len(images) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=steps)

    start = time.monotonic()
    order = torch.empty(0, dtype=torch.int64)
    for _ in track(range(steps), "train", total=steps):
        if len(order) < BATCH:
            order = torch.randperm(len(images))
        chosen, order = order[:BATCH], order[BATCH:]
        x = batch_of(images, chosen)
        if torch.rand(()) < 0.5:
            x = x.flip(3)
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    seconds = time.monotonic() - start

    model.eval()
    val_images, val_labels = torch.from_numpy(val.images), torch.from_numpy(val.labels)
    with torch.inference_mode():
        parts = torch.arange(len(val_labels)).split(250)
        right = sum(int((model(batch_of(val_images, p)).argmax(1) == val_labels[p]).sum()) for p in parts)
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{manifest.name}: {parameters} parameters, {len(images)} images, {args.epochs} epochs: "
        f"validation accuracy {right / len(val_labels):.4f} after {seconds:.0f} s (threads: {torch.get_num_threads()})"
    )


if __name__ == "__main__":
    main()
