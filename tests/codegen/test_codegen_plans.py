"""Random networks under random plans: the generated C gives the reference's bits whatever the schedule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.schedule import patch_plan, solve
from random_networks import networks

TARGET = targets.load("stm32f412")


def image_for(network, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (1, *network.tensors["input"].shape)).astype(np.int8)


@pytest.mark.parametrize("emulate_dsp", [False, True], ids=["portable", "dsp"])
@settings(max_examples=12)
@given(
    networks(),
    st.sampled_from(["auto", "layer", "patch", "stream"]),
    st.sampled_from(["pushed", "pulled", "resident"]),
    st.sampled_from([0.0, 0.3, 5.0]),
)
def test_solved_plans_are_bit_exact(check_on_host, emulate_dsp, network, kind, mode, extra):
    plan = solve(network, TARGET, kind=kind, input_mode=mode, max_extra_macs=extra).plan
    check_on_host(network, plan, image_for(network), emulate_dsp=emulate_dsp)


@settings(max_examples=8)
@given(networks(), st.integers(2, 5), st.integers(1, 3))
def test_patches_are_bit_exact(check_on_host, network, grid, blocks):
    try:
        plan = patch_plan(network, TARGET, grid, blocks)
    except ValueError:
        return  # fewer blocks, or maps smaller than the grid
    check_on_host(network, plan, image_for(network), emulate_dsp=False)
