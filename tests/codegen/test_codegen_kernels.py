"""Every kernel against the reference, on the host under sanitizers: the portable C and the one for Cortex-M."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network import validate
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
