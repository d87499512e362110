from dataclasses import replace

import numpy as np

from patchline.codegen.constant_channels import simplify
from patchline.codegen.operators import lower
from patchline.network import reference
from patchline.network.ir import Conv, Depthwise, Network, Requant, Tensor


def network_of(op: Conv | Depthwise, zero: int) -> Network:
    tensors = {"x": Tensor("x", 5, 5, 4, 0.1, 3), "y": Tensor("y", 5, 5, 4, 0.1, zero)}
    return Network("net", "x", ("y",), tensors, (op,))


def requant() -> Requant:
    return Requant(
        np.array([2**30 + 5, 2**31 - 1, 2**30, 3 * 2**29], np.int32), np.array([-7, -28, -31, -6], np.int32), "tflite"
    )


def test_dead_channels_keep_their_values_and_leave_the_fast_way_open():
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (4, 1, 1, 4)).astype(np.int8)
    weights[1] = 0  # as TFLite leaves a pruned channel: no weights, a bias of 30 bits, a shift to match
    bias = np.array([100, 2**30, -(2**30), -50], np.int32)
    for zero in (-128, 0, 17):
        conv = Conv("conv", ("x",), "y", weights=weights, bias=bias, requant=requant(), stride=(1, 1), pad=(0, 0))
        depthwise = Depthwise(
            "dw", ("x",), "y", weights=weights.reshape(4, 1, 4).transpose(1, 0, 2)[:, :1], bias=bias, requant=requant(),
            stride=(1, 1), pad=(0, 0),
        )  # fmt: skip
        for op in (conv, depthwise):
            network = network_of(op, zero)
            simple = simplify(op, network.tensors["x"], network.tensors["y"])
            assert simple.requant.shifts.tolist()[1:3] == [-1, -1]
            assert simple.requant.shifts.tolist()[::3] == [-7, -6]  # these are alive
            images = rng.integers(-128, 128, (6, 5, 5, 4)).astype(np.int8)
            images[0], images[1] = -128, 127
            expected = reference.run_batch(network, images)["y"]
            found = reference.run_batch(replace(network, ops=(simple,)), images)["y"]
            assert np.array_equal(found, expected)
            assert lower(network, op).fields["requant"]["fast"] == "PL_TFLITE"
