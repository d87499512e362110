"""Depthwise 3x3 as machine code: every place at which the assembly's loop is entered, all edges, both fast rules."""

import numpy as np
import pytest

from patchline import targets
from patchline.codegen.operators import lower
from patchline.network import arithmetic, reference
from patchline.network.ir import Depthwise, Network, Rule, Tensor
from patchline.schedule import layer_plan


def rows_of(width: int, channels: int, seed: int) -> Network:
    """Every stride, padding and rule on one map; output widths: from one column to all that touch the map."""
    rng = np.random.default_rng(seed)
    height = int(rng.integers(1, 5))
    zero = int(rng.choice([-128, 127, 5]))
    tensors = {"input": Tensor("input", height, width, channels, 0.05, zero)}
    ops: list[Depthwise] = []

    def add(rule: Rule, stride: int, pad: tuple[int, int], columns: int) -> None:
        scales = 10.0 ** rng.uniform(-4, -2, channels)
        requant = arithmetic.single_requant(scales) if rule == "single" else arithmetic.tflite_requant(scales, rule)
        weights = rng.integers(-128, 128, (3, 3, channels)).astype(np.int8)
        bias = rng.integers(-(2**16), 2**16, channels).astype(np.int32)
        name = f"t{len(ops)}"
        tensors[name] = Tensor(name, height, columns, channels, 0.07, int(rng.integers(-128, 128)))
        ops.append(Depthwise(f"op{len(ops)}", ("input",), name, weights, bias, requant, (1, stride), pad, (-128, 127)))

    rules: tuple[Rule, ...] = ("single", "tflite")
    for rule in rules:
        for stride in (1, 2):
            for left in (0, 1, 2):
                largest = (width - 1 + left) // stride + 1
                usual = (width + 2 * left - 3) // stride + 1
                for columns in sorted({1, max(1, min(usual, largest)), max(1, largest - 1), largest}):
                    add(rule, stride, (int(rng.integers(0, 3)), left), columns)
    return Network("rows", "input", tuple(op.output for op in ops), tensors, tuple(ops))


@pytest.mark.parametrize("target", ["stm32f412", "stm32f746"])
@pytest.mark.parametrize("width", [*range(1, 14), 25])
def test_rows_of_any_width_equal_the_reference(make_firmware, target, width):
    network = rows_of(width, channels=1 + width % 3, seed=width)
    fast = {lower(network, op).fields["requant"]["fast"] for op in network.ops}
    assert fast == {"PL_SINGLE", "PL_TFLITE"}
    board = make_firmware(network, layer_plan(network, targets.load(target)))
    rng = np.random.default_rng(width)
    shape = network.tensors["input"].shape
    for image in (rng.integers(-128, 128, shape).astype(np.int8), np.full(shape, -128, np.int8)):
        outputs = reference.run_batch(network, image[None])
        expected = np.concatenate([outputs[name].reshape(-1) for name in network.outputs])
        assert np.array_equal(board.outputs(image), expected)
