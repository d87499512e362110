"""Shared weights: slicing, extraction, recalibration, folding."""

import numpy as np
import pytest
import torch

from patchline.errors import UserError
from patchline.supernet import Supernet, extract, load_static, load_supernet, save_static, save_supernet
from patchline.supernet.evaluate import accuracy, recalibrate
from patchline.supernet.extract import fold
from patchline.supernet.images import to_input
from patchline.supernet.space import SMALL
from tiny import TINY, split


def _net() -> Supernet:
    torch.manual_seed(3)
    return Supernet(TINY, 2)


def test_an_extracted_network_computes_what_the_supernet_computes() -> None:
    net, rng = _net(), np.random.default_rng(1)
    images = split(8).images
    for arch in (TINY.largest(2), TINY.smallest(2), *(TINY.sample(rng, 2) for _ in range(6))):
        x = to_input(images, arch.resolution)
        static = extract(net, arch).train()  # both normalise with the statistics of the batch
        torch.testing.assert_close(static(x), net(x, arch))


def test_a_smaller_kernel_is_the_middle_of_the_larger() -> None:
    layer = _net().blocks[1].depthwise
    assert torch.equal(layer.sliced(1, 8, 3), layer.weight[:8, :, 1:4, 1:4])


def test_recalibration_gives_the_statistics_of_the_images() -> None:
    static, images = extract(_net(), TINY.largest(2)), split(64).images
    recalibrate(static, images, batch_size=16)
    x = to_input(images, static.arch.resolution)
    expected = torch.nn.functional.conv2d(x, static.stem[0].weight, stride=2, padding=1).mean((0, 2, 3))
    torch.testing.assert_close(static.stem[1].running_mean, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        logits = [static.train()(x), static.eval()(x)]
    assert (logits[0] - logits[1]).abs().max() < 0.2 * logits[0].abs().max()


def test_folding_keeps_the_function() -> None:
    static = extract(_net(), TINY.largest(2))
    recalibrate(static, split(32).images)
    x = to_input(split(8, seed=1).images, static.arch.resolution)
    folded = fold(static)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(x), static(x), rtol=1e-4, atol=1e-5)


def test_files_bring_back_the_same_network(tmp_path) -> None:
    torch.manual_seed(0)
    net = Supernet(SMALL, 2)
    save_supernet(tmp_path / "supernet.pt", net)
    again = load_supernet(tmp_path / "supernet.pt")
    static = extract(again, SMALL.smallest(2))
    recalibrate(static, split(16).images)
    save_static(tmp_path / "subnet.pt", static)
    images = split(16).images
    loaded = load_static(tmp_path / "subnet.pt")
    assert loaded.arch == static.arch
    assert torch.equal(loaded(to_input(images, 64)), static(to_input(images, 64)))
    assert accuracy(loaded, images, split(16).labels) == accuracy(static, images, split(16).labels)


def test_equal_weights_make_equal_files(tmp_path) -> None:
    torch.manual_seed(0)
    net = Supernet(SMALL, 2)
    for name in ("a", "b"):
        save_supernet(tmp_path / f"{name}.pt", net)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path) -> None:
    with pytest.raises(UserError, match="dvc repro train_supernet"):
        load_supernet(tmp_path / "none.pt")
