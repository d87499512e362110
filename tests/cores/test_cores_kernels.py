"""The choice of a kernel: one record from which code generation, memory model and prediction all read."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.codegen.operators import lower
from patchline.cores.armv7em.kernels import choose
from patchline.network.builder import NetworkBuilder
from patchline.schedule.geometry import Graph

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kernel", "stride", "function", "order"),
    [
        (3, 1, "pl_depthwise_3s1", "nine"),
        (5, 1, "pl_depthwise_5s1", "sums"),
        (7, 2, "pl_depthwise_7s2", "sums_even"),
        (4, 2, "pl_depthwise_row", "quads"),
        (5, 3, "pl_depthwise_row", "sums"),
    ],
)
def test_depthwise_windows_have_kernels_of_their_own(kernel: int, stride: int, function: str, order: str) -> None:
    b = NetworkBuilder(16, 16, 4, seed=None)
    b.depthwise("input", kernel, stride)
    network = b.finish()
    chosen = choose(network, network.ops[0])
    assert (chosen.function, chosen.order) == (function, order)
    assert (chosen.scratch_bytes(8) > 0) == chosen.gathers == (function[13] in "57")


@given(st.sampled_from([1, 2, 3]), st.sampled_from([1, 3]), st.sampled_from([1, 3, 4, 8]), st.integers(1, 3))
def test_code_generation_takes_what_was_chosen(size: int, kernel: int, channels: int, stride: int) -> None:
    b = NetworkBuilder(size, size, channels, seed=None)
    b.conv("input", 4, kernel, stride)
    network = b.finish()
    (chosen,) = Graph(network).kernels
    lowered = lower(network, network.ops[0])
    assert (lowered.kernel, lowered.fields["order"]) == (chosen.function, f"PL_{chosen.order.upper()}")


def test_every_special_kernel_is_declared_in_the_template() -> None:
    header = (ROOT / "firmware_template" / "include" / "patchline" / "kernels.h").read_text()
    declared = set(re.findall(r"pl_(?:conv|depthwise)_\w+", header))
    special = {f"pl_depthwise_{size}s{stride}" for size in (3, 5, 7) for stride in (1, 2)}
    assert special | {"pl_depthwise_row", "pl_conv_dense", "pl_conv_pointwise", "pl_conv_window"} <= declared
