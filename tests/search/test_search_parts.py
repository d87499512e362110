"""Splits that list one class after the other, as folders are read: every part that is used stands for the whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from patchline.data import Split
from patchline.search import finetune, judge
from patchline.supernet import Supernet, evaluate, train
from tiny import TINY, split

IMAGES = 4200  # more than any part that is used for recalibration


def one_class_after_the_other(images: int, seed: int = 0) -> Split:
    mixed = split(images, seed)
    order = np.argsort(mixed.labels, kind="stable")
    return Split(mixed.images[order], mixed.labels[order])


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(TINY, 2)


@pytest.fixture
def batches_seen(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How much brighter the upper half of each recalibration batch is than the lower: 0 or 0.4 in a single class."""
    seen: list[float] = []
    recalibrate_on = evaluate.recalibrate_on

    def spy(net: torch.nn.Module, inputs: Iterable[Tensor]) -> None:
        kept = list(inputs)
        seen.extend(float(x[:, :, :6].mean() - x[:, :, -6:].mean()) for x in kept)
        recalibrate_on(net, kept)

    for module in (evaluate, judge):
        monkeypatch.setattr(module, "recalibrate_on", spy)
    return seen


def test_every_batch_that_recalibrates_holds_both_classes(
    supernet: Supernet, batches_seen: list[float], tmp_path: Path
) -> None:
    images, few = one_class_after_the_other(IMAGES), one_class_after_the_other(64, seed=1)
    ways = {
        "training": lambda: train.judge(supernet, images, few),
        "fine-tuning": lambda: finetune.fine_tune(supernet, TINY.smallest(2), images, 0, 1),
        "a trial": lambda: judge.Judge(supernet, images, few, ["a"], tmp_path).accuracy(TINY.largest(2), 256, 64),
        "a finalist": lambda: judge.Judge(supernet, images, few, ["b"], tmp_path).accuracy(TINY.largest(2), 10**9, 64),
    }
    for name, way in ways.items():
        batches_seen.clear()
        way()
        assert batches_seen, name
        assert min(batches_seen) > 0.15, (name, batches_seen)
        assert max(batches_seen) < 0.25, name


def test_candidates_are_ranked_on_both_classes(supernet: Supernet, tmp_path: Path) -> None:
    with torch.no_grad():
        supernet.classifier.bias[0] = 1e3  # whatever it sees
    val = one_class_after_the_other(64)
    always_the_first = judge.Judge(supernet, val, val, ["a"], tmp_path)
    assert always_the_first.accuracy(TINY.smallest(2), 32, 20) == 0.5
