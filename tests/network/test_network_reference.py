"""The reference against loops written straight from the formulas in ir.py and arithmetic.py, in Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from patchline.network import arithmetic, fixedpoint, reference
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Add, Conv, Depthwise, Mul, Network, Pad, Pool, Requant, Softmax, Tensor


def single(acc: int, multiplier: int, shift: int, zero: int, clamp: tuple[int, int]) -> int:
    wrapped = ((acc << shift) + 2**31) % 2**32 - 2**31
    return min(max(((wrapped * multiplier + 2**31) >> 32) + zero, clamp[0]), clamp[1])


def tflite(acc: int, multiplier: int, shift: int, zero: int, clamp: tuple[int, int]) -> int:
    x = acc << max(shift, 0)
    x = min(max(x, -(2**31)), 2**31 - 1)
    product = x * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    right = max(-shift, 0)
    mask = 2**right - 1
    result = (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))
    return min(max(result + zero, clamp[0]), clamp[1])


def tflite_once(acc: int, multiplier: int, shift: int, zero: int, clamp: tuple[int, int]) -> int:
    rounded = (2 * acc * multiplier + 2 ** (31 - shift)) // 2 ** (32 - shift)
    return min(max(rounded + zero, clamp[0]), clamp[1])


RULES = {"single": single, "tflite": tflite, "tflite_once": tflite_once}


def network_of(op, *tensors: Tensor) -> Network:
    return Network("n", tensors[0].name, (op.output,), {t.name: t for t in tensors}, (op,))


def image(tensor: Tensor, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, tensor.shape).astype(np.int8)


def requant(rule: str, reals: list[float]) -> Requant:
    return arithmetic.single_requant(reals) if rule == "single" else arithmetic.tflite_requant(reals, rule)


def window(t: Tensor, x: np.ndarray, y: int, col: int, kernel, stride, pad):
    """(i, j, cell values of all channels) of the cells inside the map."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            row, column = y * stride[0] + i - pad[0], col * stride[1] + j - pad[1]
            if 0 <= row < t.height and 0 <= column < t.width:
                yield i, j, x[row, column].astype(int)


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "out"),
    [((3, 3), (2, 2), (0, 1), (3, 4)), ((1, 1), (2, 2), (0, 0), (3, 4)), ((4, 2), (1, 3), (2, 0), (6, 2))],
)
def test_convolutions_match_plain_loops(rule, kernel, stride, pad, out) -> None:
    rng = np.random.default_rng(0)
    a = Tensor("a", 6, 7, 3, 0.1, -7)
    reals = [0.004, 0.0007, 0.011]
    for dense in (True, False):
        shape = (3, *kernel, 3) if dense else (*kernel, 3)
        weights = rng.integers(-128, 128, shape).astype(np.int8)
        bias = rng.integers(-9999, 9999, 3).astype(np.int32)
        scale = requant(rule, reals)
        b = Tensor("b", *out, 3, 0.1, 4)
        cls = Conv if dense else Depthwise
        op = cls("c", ("a",), "b", weights, bias, scale, stride, pad, (-100, 90))
        x = image(a)
        got = reference.run(network_of(op, a, b), x)["b"]
        for y in range(out[0]):
            for col in range(out[1]):
                for c in range(3):
                    acc = int(bias[c])
                    for i, j, cells in window(a, x, y, col, kernel, stride, pad):
                        centred = cells - a.zero_point
                        tap = weights[c, i, j] if dense else weights[i, j, c]
                        acc += int((tap.astype(int) * centred).sum()) if dense else int(tap) * int(centred[c])
                    want = RULES[rule](acc, int(scale.multipliers[c]), int(scale.shifts[c]), 4, (-100, 90))
                    assert got[y, col, c] == want


@pytest.mark.parametrize("rule", ["single", "tflite", None])
def test_average_pool_counts_only_cells_inside(rule) -> None:
    a, b = Tensor("a", 5, 5, 2, 0.1, 9), Tensor("b", 3, 3, 2, 0.1, 9)
    scale = None if rule is None else requant(rule, [1.3 / n for n in range(1, 10)])
    op = Pool("p", ("a",), "b", "average", (3, 3), (2, 2), (1, 1), scale)
    x = image(a)
    got = reference.run(network_of(op, a, b), x)["b"]
    for y in range(3):
        for col in range(3):
            cells = [v for _, _, v in window(a, x, y, col, (3, 3), (2, 2), (1, 1))]
            for c in range(2):
                total, n = sum(int(v[c]) for v in cells), len(cells)
                if scale is None:
                    want = (abs(total) + n // 2) // n * (1 if total > 0 else -1)
                else:
                    entry = int(scale.multipliers[n - 1]), int(scale.shifts[n - 1])
                    want = RULES[rule](total - n * 9, *entry, 9, (-128, 127))
                assert got[y, col, c] == want


def test_max_pool_ignores_padding() -> None:
    a, b = Tensor("a", 4, 4, 1, 0.1, 0), Tensor("b", 3, 3, 1, 0.1, 0)
    op = Pool("p", ("a",), "b", "max", (2, 2), (2, 2), (1, 1))
    x = np.full((4, 4, 1), -128, np.int8)
    x[3, 3] = -5
    want = np.full((3, 3, 1), -128)
    want[2, 2] = -5
    assert np.array_equal(reference.run(network_of(op, a, b), x)["b"], want)


def test_add_and_mul_are_close_to_the_real_values() -> None:
    a, y = Tensor("a", 3, 3, 4, 0.05, -20), Tensor("y", 3, 3, 4, 0.09, 5)
    x = image(a)
    real = 0.05 * (x.astype(float) + 20)
    m, shift, offset = arithmetic.add_constants(0.05, -20, 0.05, -20, 0.09, 5)
    m3, s3 = arithmetic.tflite_add_constants(0.05, 0.05, 0.09)
    for op in (Add("s", ("a", "a"), "y", m, (shift,), offset), Add("s", ("a", "a"), "y", m3, s3, rule="tflite")):
        got = reference.run(network_of(op, a, y), x)["y"]
        assert np.abs(np.clip(2 * real / 0.09 + 5, -128, 127) - got).max() <= 0.51
    scale = 0.05 * 0.05 / 0.3
    mul = Mul("m", ("a", "a"), "y", arithmetic.single_requant(scale))
    got = reference.run(network_of(mul, a, Tensor("y", 3, 3, 4, 0.3, 5)), x)["y"]
    assert np.abs(np.clip(real * real / 0.3 + 5, -128, 127) - got).max() <= 0.51


def test_softmax_is_close_to_the_real_function_and_saturates_quietly() -> None:
    a, b = Tensor("a", 2, 3, 5, 0.07, 3), Tensor("b", 2, 3, 5, 1 / 256, -128)
    op = Softmax("s", ("a",), "b", fixedpoint.softmax_exp_table(0.07))
    x = image(a)
    x[0, 0] = -128
    x[0, 1] = [127, -128, -128, -128, -128]
    got = reference.run(network_of(op, a, b), x)["b"]
    exp = np.exp(0.07 * x.astype(float))
    want = np.clip(exp / exp.sum(-1, keepdims=True) * 256 - 128, -128, 127)
    assert np.abs(want - got).max() <= 0.52


def test_pad_reads_its_value_around_the_map() -> None:
    a, b = Tensor("a", 2, 2, 1, 0.1, 0), Tensor("b", 4, 5, 1, 0.1, 0)
    x = image(a)
    got = reference.run(network_of(Pad("p", ("a",), "b", (1, 2), 7), a, b), x)["b"]
    want = np.full((4, 5, 1), 7)
    want[1:3, 2:4] = x
    assert np.array_equal(got, want)


def every_operator() -> Network:
    b = NetworkBuilder(17, 15, 3, seed=3)
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 5, 1, 2)
    gate = b.lookup(b.conv(b.global_pool(x), 8, relu=False))
    x = b.mul(x, gate)
    y = b.pool(b.depthwise(x, 7), "average", 3, 1, 1)
    z = b.upsample(b.pool(y, "max", 3, 2, 1))
    return b.finish(y, z)


def test_a_batch_equals_image_by_image_and_chunks_do_not_matter(monkeypatch) -> None:
    network = every_operator()
    images = np.random.default_rng(0).integers(-128, 128, (7, 17, 15, 3)).astype(np.int8)
    whole = reference.run_batch(network, images)
    assert set(whole) == set(network.outputs)
    monkeypatch.setattr(reference, "CHUNK_BYTES", 16 * 17 * 15 * 8 * 3)
    assert 1 <= reference.chunk_size(network) < 7
    for name, values in reference.run_batch(network, images).items():
        assert np.array_equal(values, whole[name])
        assert np.array_equal(values[6], reference.run(network, images[6])[name])
    assert reference.run_batch(network, images[:0])[network.outputs[0]].shape == (0, 9, 8, 8)


def test_float32_is_only_used_where_it_is_exact() -> None:
    assert reference._float_type(np.full((1, 1, 1, 500), 127, np.int8), (1, 2, 3)) is np.float32
    assert reference._float_type(np.full((1, 1, 1, 600), 127, np.int8), (1, 2, 3)) is np.float64


def test_a_wrong_image_is_refused() -> None:
    with pytest.raises(ValueError, match="takes int8 images of shape"):
        reference.run(every_operator(), np.zeros((17, 15, 4), np.int8))
