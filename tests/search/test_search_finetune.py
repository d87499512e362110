"""Fine-tuning of the winner."""

import torch

from patchline.search.finetune import fine_tune
from patchline.search.results import remembered_network
from patchline.supernet import StaticNet, Supernet, extract
from patchline.supernet.evaluate import accuracy, recalibrate
from tiny import TINY, split


def _supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(TINY, 2)


def test_it_improves_and_is_seeded() -> None:
    supernet, arch, train = _supernet(), TINY.largest(2), split(192)
    before = extract(supernet, arch)
    recalibrate(before, train.images)
    net = fine_tune(supernet, arch, train, epochs=30, seed=1)
    test = split(64, seed=2)
    assert accuracy(net, test.images, test.labels) > max(0.8, accuracy(before, test.images, test.labels))
    again = fine_tune(supernet, arch, train, epochs=30, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


def test_no_epochs_is_the_recalibrated_sub_network() -> None:
    supernet, arch, train = _supernet(), TINY.smallest(2), split(32)
    net = fine_tune(supernet, arch, train, epochs=0, seed=1)
    assert torch.equal(net.stem[0].weight, extract(supernet, arch).stem[0].weight)
    assert not net.training


def test_equal_settings_train_once(tmp_path) -> None:
    made = []

    def make() -> StaticNet:
        made.append(1)
        return fine_tune(_supernet(), TINY.smallest(2), split(32), 0, 1)

    first = remembered_network(tmp_path, ["a", 1], make)
    second = remembered_network(tmp_path, ["a", 1], make)
    assert len(made) == 1 and first.arch == second.arch
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    remembered_network(tmp_path, ["a", 2], make)
    assert len(made) == 2
