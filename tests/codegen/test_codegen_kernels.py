"""Every kernel against the reference, on the host under sanitizers: the portable C and the one for Cortex-M."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network import fixedpoint, validate
from patchline.network.ir import Conv, Depthwise, Network, Requant, Softmax, Tensor
from patchline.schedule import layer_plan
from random_maps import map_networks
from random_operators import operator_networks

TARGET = targets.load("stm32f746")


@pytest.mark.parametrize("emulate_dsp", [False, True], ids=["portable", "dsp"])
@settings(max_examples=15)
@given(operator_networks(), st.sampled_from(["pulled", "resident"]))
def test_kernels_equal_the_reference(check_on_host, emulate_dsp, case, mode):
    network, images = case
    validate.check(network)
    check_on_host(network, layer_plan(network, TARGET, mode), images, emulate_dsp=emulate_dsp)


@pytest.mark.parametrize("emulate_dsp", [False, True], ids=["portable", "dsp"])
@settings(max_examples=15)
@given(map_networks())
def test_kernels_by_blocks_equal_the_reference(check_on_host, emulate_dsp, case):
    network, images = case
    validate.check(network)
    check_on_host(network, layer_plan(network, TARGET, "pulled"), images, emulate_dsp=emulate_dsp)


@pytest.mark.parametrize("emulate_dsp", [False, True], ids=["portable", "dsp"])
def test_negative_multipliers_round_halves_away_from_zero(check_on_host, emulate_dsp):
    """Every fourth sum of -2^30 * 2^-2 is a half; the short way would round half of them to the wrong side."""
    channels = 8
    requant = Requant(np.full(channels, -(2**30), np.int32), np.full(channels, -2, np.int32), "tflite")
    bias = np.arange(channels, dtype=np.int32)
    ones, eye = np.ones((3, 3, channels), np.int8), np.eye(channels, dtype=np.int8).reshape(channels, 1, 1, channels)
    ops = (
        Conv("conv", ("input",), "a", weights=eye * np.int8(3), bias=bias, requant=requant),
        Depthwise("depthwise", ("input",), "b", weights=ones, bias=bias, requant=requant, pad=(1, 1)),
    )
    tensors = {name: Tensor(name, 8, 8, channels, 0.1, 3) for name in ("input", "a", "b")}
    network = Network("negative", "input", ("a", "b"), tensors, ops)
    validate.check(network)
    images = np.random.default_rng(0).integers(-128, 128, (2, 8, 8, channels)).astype(np.int8)
    check_on_host(network, layer_plan(network, TARGET, "pulled"), images, emulate_dsp=emulate_dsp)


@pytest.mark.parametrize("channels", [512, 4096, 8191])
def test_softmax_of_as_many_channels_as_its_sum_can_hold(check_on_host, channels):
    op = Softmax("softmax", ("input",), "y", exp_table=fixedpoint.softmax_exp_table(0.05))
    tensors = {name: Tensor(name, 2, 1, channels, 0.05, 3) for name in ("input", "y")}
    network = Network("softmax", "input", ("y",), tensors, (op,))
    validate.check(network)
    images = np.random.default_rng(0).integers(-128, 128, (3, 2, 1, channels)).astype(np.int8)
    images[0] = 5  # every channel adds 2^19
    images[1, ..., 1:] = -128
    check_on_host(network, layer_plan(network, TARGET, "pulled"), images, emulate_dsp=False)
