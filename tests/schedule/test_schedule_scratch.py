"""Scratch is what a kernel touches and no more: dense layers and softmax none, short rows less than long ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline import targets
from patchline.cores.armv7em.kernels import choose, chunks, output_blocks, pixel_blocks
from patchline.network import fixedpoint
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network, Softmax, Tensor
from patchline.schedule import solve

TARGET = targets.load("stm32f412")


def _autoencoder() -> Network:
    """As MLPerf Tiny's for anomalies: nothing but dense layers."""
    b = NetworkBuilder(1, 1, 640, seed=None)
    x = "input"
    for channels in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        x = b.conv(x, channels)
    return b.finish()


def _keywords() -> Network:
    """As micro_speech: one convolution with a large window, one dense layer that takes its whole map in, softmax."""
    b = NetworkBuilder(49, 40, 1, seed=None)
    x = b.conv("input", 8, (10, 8), 2, pad=4)
    t = b.tensor(x)
    x = b.conv(x, 4, (t.height, t.width), pad=0)
    source = b.finish(x)
    tensors = {**source.tensors, "scores": Tensor("scores", 1, 1, 4, 1 / 256, -128)}
    softmax = Softmax("softmax", (x,), "scores", exp_table=fixedpoint.softmax_exp_table(0.1))
    return Network("keywords", "input", ("scores",), tensors, (*source.ops, softmax))


@pytest.mark.parametrize("make", [_autoencoder, _keywords])
def test_dense_networks_need_their_activations(make):
    plan = solve(make(), TARGET).plan
    assert plan.arena_bytes <= 1.1 * plan.activation_peak_bytes


def test_only_kernels_that_widen_or_gather_have_scratch():
    network = _keywords()
    chosen = [choose(network, op) for op in network.ops]
    widths = [network.tensors[op.output].width for op in network.ops]
    found = {kernel.function: kernel.scratch_bytes(width) for kernel, width in zip(chosen, widths, strict=True)}
    assert found == {"pl_conv_window": 4 * 2 * 80, "pl_conv_dense": 0, "pl_softmax_row": 0}


@given(st.integers(1, 40), st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2]))
def test_scratch_holds_the_largest_piece_of_a_row(columns, kernel, stride):
    b = NetworkBuilder(8, 80, 4, seed=None)
    b.conv("input", 8, kernel, stride)
    b.depthwise("input", kernel, stride)
    network = b.finish()
    conv, depthwise = (choose(network, op).scratch_bytes(columns) for op in network.ops)
    widest = max(size for size, count in zip((4, 3, 2, 1), pixel_blocks(columns), strict=True) if count)
    assert conv == widest * 2 * kernel * kernel * 4
    if kernel < 5:
        assert depthwise == 0
    else:
        outputs = max(sum(output_blocks(chunk)) for chunk in chunks(columns))
        assert max(chunks(columns)) <= outputs <= 16
        assert depthwise == 4 * ((kernel + 1) // 2) * ((outputs - 1) * stride + kernel)


@given(st.integers(1, 200))
def test_chunks_make_up_the_row(columns):
    assert sum(chunks(columns)) == columns and min(chunks(columns)) >= 1 and max(chunks(columns)) <= 16
