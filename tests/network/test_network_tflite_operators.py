"""Every TFLite operator in a small model, against TFLite's own reference kernels, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from patchline.network import reference
from patchline.network.importers.tflite import from_tflite
from patchline.network.ir import Add, Conv, GlobalPool, Lookup, Mul, Pad


def images_for(network, count: int = 4) -> np.ndarray:
    shape = network.tensors[network.input].shape
    return np.random.default_rng(1).integers(-128, 128, (count, *shape)).astype(np.int8)


def agree(content: bytes, run_tflite, count: int = 4):
    """The network; asserts that all its outputs equal TFLite's."""
    network = from_tflite(content)
    images = images_for(network, count)
    source = network.tensors[network.input]
    got = reference.run_batch(network, images)
    wanted = run_tflite(content, images, source.scale, source.zero_point)
    assert len(wanted) == len(network.outputs)
    for name, want in zip(network.outputs, wanted, strict=True):
        tensor = network.tensors[name]
        if want.dtype == np.float32:
            want = np.rint(want / np.float32(tensor.scale) + tensor.zero_point)
        if want.dtype == np.uint8:
            want = want.astype(np.int16) - 128
        assert np.array_equal(got[name].reshape(count, -1), want.reshape(count, -1)), name
        assert len(np.unique(want)) > 3, "the test does not exercise the operator"
    return network


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("act", [0, 1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (1, 1)), ((3, 5), (2, 1)), ((1, 1), (2, 2)), ((7, 7), (2, 2))])
def test_convolutions(tflite_model, run_tflite, padding, act, kernel, stride) -> None:
    m = tflite_model()
    x = m.tensor([1, 11, 10, 3], 0.04, -11)
    y = m.conv(x, 5, kernel, stride, padding, act, per_channel=act != 1)
    z = m.depthwise(y, (3, 2), (1, 1), 0, act)
    agree(m.finish([x], [z]), run_tflite)


def test_operators_named_only_in_the_new_field(tflite_model, run_tflite) -> None:
    """Their old field is 0, which is ADD."""
    m = tflite_model()
    x = m.tensor([1, 6, 5, 4], 0.04, -11)
    number = m.constant(np.array([50], np.int8), 0.02, 7)
    y = m.conv(x, 4)
    product = m.op("MUL", [x, y], m.like(x, scale=0.07), "MulOptions")
    difference = m.op("SUB", [product, number], m.like(x, scale=0.05), "SubOptions")
    table = m.op("HARD_SWISH", [difference], m.like(x, scale=0.05))
    outputs = [product, difference, table, m.op("ADD", [x, y], m.like(x, scale=0.09), "AddOptions")]
    network = agree(m.finish([x], outputs, old_codes=False), run_tflite, 12)
    assert [type(op) for op in network.ops] == [Conv, Mul, Lookup, Lookup, Add]


def test_depthwise_of_one_channel_is_a_convolution(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 9, 8, 1], 0.04, -11)
    network = agree(m.finish([x], [m.depthwise(x, (4, 3), (2, 2), 0, 1, multiplier=6)]), run_tflite)
    assert isinstance(network.ops[0], Conv)


@pytest.mark.parametrize("seed", range(6))
def test_fully_connected_on_maps_and_positions(tflite_model, run_tflite, seed) -> None:
    m = tflite_model(seed)
    x = m.tensor([1, 4, 3, 5], 0.04, -11)
    y = m.dense(x, 7, per_channel=seed % 2 == 1)
    z = m.dense(m.dense(x, 6, keep=True), 3, keep=True)
    agree(m.finish([x], [y, z]), run_tflite, 40)


@pytest.mark.parametrize(("zero", "act"), [(3, 0), (-128, 1)])
def test_add_and_mul(tflite_model, run_tflite, zero, act) -> None:
    m = tflite_model()
    x = m.tensor([1, 6, 5, 4], 0.04, -11)
    y = m.conv(x, 4, (1, 1))
    s = m.op("ADD", [x, y], m.like(x, scale=0.09, zero=zero), "AddOptions", FusedActivationFunction=act)
    p = m.op("MUL", [s, y], m.like(x, scale=0.07, zero=zero), "MulOptions", FusedActivationFunction=act)
    gate_mean = m.op(
        "MEAN",
        [y, m.constant(np.array([1, 2], np.int32))],
        m.tensor([1, 1, 1, 4], 0.01, 5),
        "ReducerOptions",
        KeepDims=True,
    )
    gate = m.op("LOGISTIC", [gate_mean], m.tensor([1, 1, 1, 4], 1 / 256, -128))
    q = m.op("MUL", [p, gate], m.like(x, scale=0.05, zero=9), "MulOptions")
    r = m.op("MUL", [gate, p], m.like(x, scale=0.05, zero=9), "MulOptions")
    agree(m.finish([x], [s, p, q, r]), run_tflite, 12)


def test_constants_become_tables_or_depthwise(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 6, 5, 4], 0.04, -11)
    scalar = m.constant(np.array([50], np.int8), 0.02, 7)
    channels = m.constant(np.array([50, -20, 7, 90], np.int8), 0.02, 7)
    outs = [
        m.op("ADD", [x, scalar], m.like(x, scale=0.05), "AddOptions"),
        m.op("SUB", [scalar, x], m.like(x, scale=0.05), "SubOptions"),
        m.op("SUB", [x, scalar], m.like(x, scale=0.05), "SubOptions"),
        m.op("MUL", [x, scalar], m.like(x, scale=0.06), "MulOptions", FusedActivationFunction=1),
        m.op("MUL", [channels, x], m.like(x, scale=0.06), "MulOptions"),
    ]
    agree(m.finish([x], outs), run_tflite, 12)


@pytest.mark.parametrize("code", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools(tflite_model, run_tflite, code, padding) -> None:
    m = tflite_model()
    x = m.tensor([1, 9, 8, 3], 0.04, -11)
    outs = [
        m.pool(x, code, (3, 2), (2, 1), padding),
        m.pool(x, code, (3, 3), (1, 1), padding, act=1),
        m.pool(x, code, (9, 8), (1, 1), 1),
    ]
    network = agree(m.finish([x], outs), run_tflite, 12)
    assert (code == "AVERAGE_POOL_2D") == any(isinstance(op, GlobalPool) for op in network.ops)


@pytest.mark.parametrize("axes", [[1, 2], [1], [2], [-3, -2]])
@pytest.mark.parametrize("keep", [True, False])
def test_means(tflite_model, run_tflite, axes, keep) -> None:
    m = tflite_model()
    x = m.tensor([1, 7, 6, 3], 0.04, -11)
    positive = [axis % 4 for axis in axes]
    shape = [n if i not in positive else 1 for i, n in enumerate(m.shape(x)) if keep or i not in positive]
    y = m.op(
        "MEAN", [x, m.constant(np.array(axes, np.int32))], m.tensor(shape, 0.011, 3), "ReducerOptions", KeepDims=keep
    )
    agree(m.finish([x], [y]), run_tflite, 20)


def test_two_means_behind_a_transpose_keep_their_own_rounding(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 3, 4, 8], 0.04, -11)
    y = m.op("TRANSPOSE", [x, m.constant(np.array([0, 3, 1, 2], np.int32))], m.like(x, [1, 8, 3, 4]))
    y = m.op("MEAN", [y, m.constant(np.array([2], np.int32))], m.tensor([1, 8, 4], 0.02, 3), "ReducerOptions")
    y = m.op("MEAN", [y, m.constant(np.array([2], np.int32))], m.tensor([1, 8], 0.01, -2), "ReducerOptions")
    agree(m.finish([x], [m.dense(y, 5)]), run_tflite, 20)


FUNCTIONS = {
    "RELU": (0.03, -128), "RELU6": (0.03, -128), "RELU_N1_TO_1": (0.01, 2), "HARD_SWISH": (0.04, -20),
    "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0), "QUANTIZE": (0.07, 12), "LEAKY_RELU": (0.06, -60),
}  # fmt: skip


@pytest.mark.parametrize("code", FUNCTIONS)
@pytest.mark.parametrize(("scale", "zero"), [(0.05, 3), (0.004, -100), (0.2, -10)])
def test_every_value_of_the_functions(tflite_model, run_tflite, code, scale, zero) -> None:
    m = tflite_model()
    x = m.tensor([1, 16, 16, 1], scale, zero)
    fields = {"Alpha": 0.125} if code == "LEAKY_RELU" else {}
    out_scale, out_zero = FUNCTIONS[code]
    if code == "HARD_SWISH":
        out_scale = max(out_scale, scale)
    y = m.op(code, [x], m.like(x, scale=out_scale, zero=out_zero), "LeakyReluOptions" if fields else "", **fields)
    content = m.finish([x], [y])
    network = from_tflite(content)
    image = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    got = reference.run_batch(network, image)[network.outputs[0]]
    assert np.array_equal(got.ravel(), run_tflite(content, image)[0].ravel())


@pytest.mark.parametrize("channels", [2, 10, 200])
@pytest.mark.parametrize("scale", [0.003, 0.05, 0.3])
def test_softmax(tflite_model, run_tflite, channels, scale) -> None:
    m = tflite_model()
    x = m.tensor([1, 3, 2, channels], scale, -11)
    y = m.op("SOFTMAX", [x], m.like(x, scale=1 / 256, zero=-128), "SoftmaxOptions", Beta=1.0)
    network = from_tflite(m.finish([x], [y]))
    images = images_for(network, 20)
    images[0] = -128
    images[1] = 127
    want = run_tflite(m.finish([x], [y]), images)[0].reshape(images.shape)
    assert np.array_equal(reference.run_batch(network, images)[network.outputs[0]], want)


def test_padding_concatenation_and_enlargement(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 6, 5, 3], 0.04, -11)
    pads = m.constant(np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32))
    folded = m.conv(m.op("PAD", [x, pads], m.like(x, [1, 9, 6, 3])), 4, (3, 3), (2, 2), 1)
    kept = m.op("PAD", [x, pads], m.like(x, [1, 9, 6, 3]))
    joined = m.op(
        "CONCATENATION", [x, x], m.like(x, [1, 6, 5, 6]), "ConcatenationOptions", Axis=3, FusedActivationFunction=0
    )
    large = m.op(
        "RESIZE_NEAREST_NEIGHBOR", [x, m.constant(np.array([12, 10], np.int32))], m.like(x, [1, 12, 10, 3]),
        "ResizeNearestNeighborOptions", HalfPixelCenters=True,
    )  # fmt: skip
    network = agree(m.finish([x], [folded, kept, m.conv(joined, 3), large]), run_tflite)
    assert sum(isinstance(op, Pad) for op in network.ops) == 1


def test_reshapes_between_image_and_vector(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 60], 0.04, -11)
    image = m.op(
        "RESHAPE", [x, m.constant(np.array([-1, 5, 4, 3], np.int32))], m.like(x, [1, 5, 4, 3]), "ReshapeOptions"
    )
    y = m.conv(image, 4)
    flat = m.op("RESHAPE", [y, m.constant(np.array([1, 80], np.int32))], m.like(y, [1, 80]), "ReshapeOptions")
    z = m.dense(flat, 6)
    column = m.op("EXPAND_DIMS", [z, m.constant(np.array([1], np.int32))], m.like(z, [1, 1, 6]))
    network = agree(m.finish([x], [m.op("SQUEEZE", [column], m.like(z, [6]), "SqueezeOptions"), flat]), run_tflite)
    assert network.tensors[network.input].shape == (5, 4, 3)


def test_a_convolution_along_one_axis_given_as_either_axis(tflite_model, run_tflite) -> None:
    m = tflite_model()
    x = m.tensor([1, 12, 1, 4], 0.04, -11)
    turned = m.op("RESHAPE", [x, m.constant(np.array([1, 1, 12, 4], np.int32))], m.like(x, [1, 1, 12, 4]))
    y = m.depthwise(m.conv(turned, 5, (1, 3), (1, 2), 0), (1, 3))
    agree(m.finish([x], [y, m.pool(y, "AVERAGE_POOL_2D", (1, 2), (1, 2))]), run_tflite)


@pytest.mark.parametrize("type", ["FLOAT32", "UINT8"])
def test_borders_of_another_type(tflite_model, run_tflite, type) -> None:
    m = tflite_model()
    outside = m.tensor([1, 6, 5, 3], None if type == "FLOAT32" else 0.04, 117, type=type)
    x = m.op("QUANTIZE", [outside], m.tensor([1, 6, 5, 3], 0.04, -11))
    y = m.conv(x, 4)
    if type == "FLOAT32":
        end = m.op("DEQUANTIZE", [y], m.tensor(m.shape(y), None, type=type))
    else:
        end = m.op("QUANTIZE", [y], m.tensor(m.shape(y), m.scale(y), 124, type=type))
    network = agree(m.finish([outside], [end]), run_tflite)
    assert not any(isinstance(op, Lookup) for op in network.ops)
