"""Depthwise layers with a few channels whose scale is 0.5 or more: the short way for the others, the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.codegen.operators import lower
from patchline.network import arithmetic, reference
from patchline.network.ir import Depthwise, Network, Tensor
from patchline.schedule import layer_plan
from patchline.schedule.latency import predicted_cycles

CHANNELS = 16


def layers(width: int, shifted: set[int], seed: int) -> Network:
    """Depthwise layers of all special sizes and strides; channels in `shifted` have scales from 0.5 to 30."""
    rng = np.random.default_rng(seed)
    zero = int(rng.choice([-128, 127, 5]))
    tensors = {"input": Tensor("input", 6, width, CHANNELS, 0.05, zero)}
    ops = []
    for kernel in (3, 5, 7):
        for stride in (1, 2):
            scales = 10.0 ** rng.uniform(-4, -2, CHANNELS)
            for channel in shifted:
                scales[channel] = rng.uniform(0.5, 30)
            weights = rng.integers(-128, 128, (kernel, kernel, CHANNELS)).astype(np.int8)
            weights[..., list(shifted)] //= 64  # a large scale goes with small sums
            bias = rng.integers(-(2**10), 2**10, CHANNELS).astype(np.int32)
            name, pad = f"t{len(ops)}", kernel // 2
            size = [(n - 1) // stride + 1 for n in (6, width)]
            tensors[name] = Tensor(name, *size, CHANNELS, 0.07, int(rng.integers(-128, 128)))
            fields = (weights, bias, arithmetic.single_requant(scales), (stride, stride), (pad, pad), (-128, 127))
            ops.append(Depthwise(f"op{len(ops)}", ("input",), name, *fields))
    return Network("layers", "input", tuple(op.output for op in ops), tensors, tuple(ops))


def ways(network: Network) -> set[str]:
    return {lower(network, op).fields["requant"]["fast"] for op in network.ops}


@pytest.mark.parametrize("target", ["stm32f412", "stm32f746"])
@settings(max_examples=3)
@given(st.integers(1, 24), st.sets(st.integers(0, CHANNELS - 1), min_size=1, max_size=4), st.integers(0, 99))
def test_few_shifted_channels_equal_the_reference(make_firmware, target, width, shifted, seed):
    network = layers(width, shifted, seed)
    assert ways(network) == {"PL_MOSTLY_SINGLE"}
    board = make_firmware(network, layer_plan(network, targets.load(target)))
    image = np.random.default_rng(seed).integers(-128, 128, network.tensors["input"].shape).astype(np.int8)
    outputs = reference.run_batch(network, image[None])
    assert np.array_equal(board.outputs(image), np.concatenate([outputs[n].reshape(-1) for n in network.outputs]))


def test_only_few_channels_are_worth_a_second_pass():
    assert ways(layers(9, set(), 1)) == {"PL_SINGLE"}
    assert ways(layers(9, set(range(5)), 1)) == {"PL_MOSTLY_SINGLE"}
    assert ways(layers(9, set(range(6)), 1)) == {"PL_BY_RULE"}


def test_the_prediction_counts_the_second_pass():
    target = targets.load("stm32f412")

    def cycles(shifted: set[int]) -> float:
        network = layers(24, shifted, 1)
        return predicted_cycles(network, layer_plan(network, target).segments, target)

    none, one, four = cycles(set()), cycles({3}), cycles({3, 7, 8, 11})
    assert 1.1 * none < one < 1.3 * none  # counted on the board: 1.15 and 1.53
    assert 1.5 * none < four < 1.8 * none
