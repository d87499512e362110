"""Spaces, architectures and the networks that planning sees."""

import json

import numpy as np
import pytest

from patchline.supernet import SPACES, Architecture, build_network
from tiny import TINY


@pytest.mark.parametrize("name", SPACES)
def test_draws_lie_between_the_smallest_and_the_largest(name: str) -> None:
    space, rng = SPACES[name], np.random.default_rng(0)
    smallest, largest = space.smallest(2), space.largest(2)
    for _ in range(20):
        arch = space.sample(rng, 2)
        assert smallest.resolution <= arch.resolution <= largest.resolution
        assert len(smallest.blocks) <= len(arch.blocks) <= len(largest.blocks)
        assert build_network(smallest).macs <= build_network(arch).macs <= build_network(largest).macs


def test_mcunet_is_the_space_of_the_paper() -> None:
    space = SPACES["mcunet"]
    assert space.resolutions == (96, 128, 160, 192, 224, 256)
    assert {stage.kernels for stage in space.stages} == {(3, 5, 7)}
    assert {(stage.expands, stage.depths) for stage in space.stages[1:]} == {((3, 4, 6), (2, 3, 4))}


def test_an_architecture_survives_json() -> None:
    arch = TINY.largest(3)
    assert Architecture.from_dict(json.loads(json.dumps(arch.to_dict()))) == arch


def test_the_network_has_the_operators_of_the_architecture() -> None:
    arch = TINY.choose(lambda _, options: options[-1], 3, resolution=16)
    network = build_network(arch)
    kinds = [type(op).__name__ for op in network.ops]
    # stem, a block without expansion, two with expansion and residual, head, pool, classifier
    block = ["Conv", "Depthwise", "Conv", "Add"]
    assert kinds == ["Conv", "Depthwise", "Conv", *block, *block, "Conv", "GlobalPool", "Conv"]
    assert network.tensors[network.outputs[0]].shape == (1, 1, 3)
    assert {op.block for op in network.ops} == {"stem", "block1", "block2", "block3", "head"}
