"""Kernels and executor as machine code: random operators and random plans on the emulated boards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network import reference
from patchline.schedule import layer_plan, solve
from random_maps import map_networks
from random_networks import networks
from random_operators import operator_networks
from random_resizes import resized_networks


def expected(network, image) -> np.ndarray:
    outputs = reference.run_batch(network, image[None])
    return np.concatenate([outputs[name].reshape(-1) for name in network.outputs])


@pytest.mark.parametrize("target", ["stm32f412", "stm32f746", "mps2-an386"])
@settings(max_examples=3)
@given(operator_networks(count=24))
def test_kernels_equal_the_reference(make_firmware, target, case):
    network, images = case
    board = make_firmware(network, layer_plan(network, targets.load(target)))
    for image in images:
        assert np.array_equal(board.outputs(image), expected(network, image))


@pytest.mark.parametrize("target", ["stm32f412", "stm32f746"])
@settings(max_examples=4)
@given(map_networks(count=16))
def test_kernels_by_blocks_equal_the_reference(make_firmware, target, case):
    network, images = case
    board = make_firmware(network, layer_plan(network, targets.load(target)))
    for image in images:
        assert np.array_equal(board.outputs(image), expected(network, image))


@pytest.mark.parametrize("target", ["stm32f412", "stm32f746"])
@settings(max_examples=4)
@given(resized_networks(), st.sampled_from(["layer", "stream"]), st.sampled_from(["pushed", "pulled", "resident"]))
def test_pictures_change_their_size_as_in_the_reference(make_firmware, target, network, kind, mode):
    plan = solve(network, targets.load(target), kind=kind, input_mode=mode, max_extra_macs=5.0).plan
    board = make_firmware(network, plan)
    image = np.random.default_rng(3).integers(-128, 128, network.tensors["input"].shape).astype(np.int8)
    assert np.array_equal(board.outputs(image), expected(network, image))


@settings(max_examples=5)
@given(networks(), st.sampled_from(["auto", "patch", "stream"]), st.sampled_from(["pushed", "pulled", "resident"]))
def test_plans_equal_the_reference(make_firmware, network, kind, mode):
    plan = solve(network, targets.load("stm32f412"), kind=kind, input_mode=mode, max_extra_macs=0.5).plan
    board = make_firmware(network, plan)
    image = np.random.default_rng(3).integers(-128, 128, network.tensors["input"].shape).astype(np.int8)
    assert np.array_equal(board.outputs(image), expected(network, image))
    used, reserved = board.client.values("x-stack")
    assert 100 < used <= reserved == plan.sram.stack
