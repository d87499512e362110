"""The change of a picture's size: generated C equals the reference, and what training sees, under any plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network import reference, validate
from patchline.network.builder import NetworkBuilder
from patchline.network.resize import taking
from patchline.schedule import layer_plan, patch_plan, solve
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import make_segment
from patchline.schedule.solver import assemble
from patchline.supernet.images import resize
from random_resizes import resized_networks

TARGET = targets.load("stm32f412")


def pictures_for(network, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, *network.tensors["input"].shape), dtype=np.uint8)


@pytest.mark.parametrize("emulate_dsp", [False, True], ids=["portable", "dsp"])
@settings(max_examples=15)
@given(
    resized_networks(),
    st.sampled_from(["auto", "layer", "stream", "patch"]),
    st.sampled_from(["pushed", "pulled", "resident"]),
)
def test_solved_plans_are_bit_exact(check_on_host, emulate_dsp, network, kind, mode):
    validate.check(network)
    plan = solve(network, TARGET, kind=kind, input_mode=mode, max_extra_macs=5.0).plan
    images = pictures_for(network).view(np.int8)
    check_on_host(network, plan, images, emulate_dsp=emulate_dsp)


@settings(max_examples=12)
@given(resized_networks(), st.integers(1, 6))
def test_strips_are_bit_exact(check_on_host, network, count):
    graph = Graph(network)
    try:
        segment = make_segment(graph, "stream", 0, len(network.ops), 1, count)
    except ValueError:
        return  # fewer columns than strips
    plan = assemble(graph, TARGET, [segment], "pulled", overlap=None)
    check_on_host(network, plan, pictures_for(network).view(np.int8), emulate_dsp=False)


@settings(max_examples=8)
@given(resized_networks(), st.integers(2, 4))
def test_patches_are_bit_exact(check_on_host, network, grid):
    try:
        plan = patch_plan(network, TARGET, grid, 1)
    except ValueError:
        return  # maps smaller than the grid
    check_on_host(network, plan, pictures_for(network).view(np.int8), emulate_dsp=False)


def test_layer_by_layer_the_resized_picture_is_not_held_whole():
    """Its rows go to what reads them, as those of a picture do that needs no change: comparisons stay fair."""
    b = NetworkBuilder(80, 80, 3, seed=None)
    alone = b.finish(b.conv(b.depthwise(b.conv("input", 16, 3, 2), 3), 8))
    plans = [layer_plan(network, TARGET) for network in (alone, taking(alone, 96, 96))]
    assert plans[0].activation_peak_bytes == plans[1].activation_peak_bytes


@given(st.integers(1, 12).map(lambda n: 4 * n), st.integers(1, 12).map(lambda n: 4 * n), st.sampled_from([1, 3]))
def test_the_device_sees_what_training_saw(size, new, channels):
    """A network behind its change of size computes what the network alone makes of pictures that the host changed."""
    b = NetworkBuilder(new, new, channels, seed=3)
    alone = b.finish(b.conv("input", 4, 3, 2))
    behind = taking(alone, size, size)
    validate.check(behind)
    pictures = np.random.default_rng(size).integers(0, 256, (2, size, size, channels), dtype=np.uint8)
    expected = reference.run_batch(alone, alone.contract.values_of(resize(pictures, new)))
    found = reference.run_batch(behind, behind.contract.values_of(pictures))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
