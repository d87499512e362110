"""Scales of every size and sign: the integer constants made from them give TFLite's own bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from patchline.codegen.operators import lower
from patchline.network import reference
from patchline.network.importers.tflite import from_tflite
from patchline.network.ir import Conv, Depthwise, Network


def examples(count: int) -> settings:
    # the fixtures are a class and a function: nothing is left in them by the example before
    return settings(max_examples=count, suppress_health_check=list(HealthCheck))


KINDS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]


def equal(content: bytes, run_tflite, images: np.ndarray) -> Network:
    """The network; asserts that all its outputs equal TFLite's for these int8 images [N, H, W, C]."""
    network = from_tflite(content)
    got = reference.run_batch(network, images)
    for name, want in zip(network.outputs, run_tflite(content, images), strict=True):
        wrong = got[name].reshape(len(images), -1) != want.reshape(len(images), -1)
        assert not wrong.any(), f"{wrong.sum()} of {wrong.size} values of {name} differ"
    return network


def layer(m, kind: str, weights, bias, input_scale: float, scales, scale: float, zeros=(3, 0), act: int = 0) -> bytes:
    """One pointwise layer with weights [channels] on one input value (depthwise: on as many)."""
    count = len(weights)
    weights, bias = np.asarray(weights, np.int8), np.asarray(bias, np.int32)
    scales = np.asarray(scales, np.float32).reshape(-1)
    biases = m.constant(bias, np.abs(np.float32(input_scale) * scales))
    window = {"Padding": 1, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
    if kind == "FULLY_CONNECTED":
        x, y = m.tensor([1, 1], input_scale, zeros[0]), m.tensor([1, count], scale, zeros[1])
        inputs = [x, m.constant(weights.reshape(count, 1), scales), biases]
        m.op(kind, inputs, y, "FullyConnectedOptions", FusedActivationFunction=act)
    elif kind == "CONV_2D":
        x, y = m.tensor([1, 1, 1, 1], input_scale, zeros[0]), m.tensor([1, 1, 1, count], scale, zeros[1])
        inputs = [x, m.constant(weights.reshape(count, 1, 1, 1), scales), biases]
        m.op(kind, inputs, y, "Conv2DOptions", FusedActivationFunction=act, **window)
    else:
        x, y = m.tensor([1, 1, 1, count], input_scale, zeros[0]), m.tensor([1, 1, 1, count], scale, zeros[1])
        inputs = [x, m.constant(weights.reshape(1, 1, 1, count), scales, axis=3), biases]
        m.op(kind, inputs, y, "DepthwiseConv2DOptions", FusedActivationFunction=act, DepthMultiplier=1, **window)
    return m.finish([x], [y])


def inputs_of(network: Network, values: list[int]) -> np.ndarray:
    shape = network.tensors[network.input].shape
    return np.stack([np.full(shape, value, np.int8) for value in values])


def log_uniform(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda exponent: float(np.float32(2.0**exponent)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel", [False, True])
@examples(12)
@given(data=st.data())
def test_sums_near_every_half(tflite_model, run_tflite, kind: str, per_channel: bool, data) -> None:
    """Biases put the sums right at the border from one output to the next, where any other constant shows."""
    step, weight = data.draw(log_uniform(-16, 0)), data.draw(log_uniform(-16, 0))
    # TFLite's fully connected layers round in float64; 31 bits can say so up to sums of about 2^20 (see the next test)
    ratio = data.draw(log_uniform(-10 if kind == "FULLY_CONNECTED" else -22, 3))
    sign = data.draw(st.sampled_from([1, -1])) if per_channel or kind != "FULLY_CONNECTED" else 1
    scale = float(np.float32(step * weight / ratio))
    assume(1e-25 < scale < 1e25)
    real = sign * step * float(np.float32(weight)) / scale
    near = np.floor((np.arange(-126, 126, 2) + 0.5) / real).astype(np.int64)[:, None] + np.arange(-1, 3)
    bias = np.unique(near)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weights = rng.choice([-127, -2, -1, 1, 2, 5], len(bias))
    scales = [sign * weight] * (len(bias) if per_channel else 1)
    content = layer(tflite_model(), kind, weights, bias, step, scales, scale)
    equal(content, run_tflite, inputs_of(from_tflite(content), [3, 2, -7, 100]))


def test_a_layer_of_thousands_of_inputs_rounds_almost_everywhere_as_float64_does(tflite_model, run_tflite) -> None:
    """Of all sums up to 2^24 one or two may be beyond 31 bits."""
    channels, wrong = 0, 0
    rng = np.random.default_rng(0)
    for _ in range(12):
        step, weight, ratio = (float(np.float32(2.0**e)) for e in (rng.uniform(-8, -4), rng.uniform(-9, -5), -15.6))
        scale = float(np.float32(step * weight / ratio))
        real = step * weight / scale
        bias = np.unique(np.floor((np.arange(-127, 127) + 0.5) / real).astype(np.int64)[:, None] + np.arange(-1, 3))
        content = layer(tflite_model(), "FULLY_CONNECTED", np.ones(len(bias)), bias, step, [weight], scale)
        network = from_tflite(content)
        images = inputs_of(network, [3])
        got = reference.run_batch(network, images)[network.outputs[0]].ravel()
        wrong += int((got != run_tflite(content, images)[0].ravel()).sum())
        channels += len(bias)
    assert wrong <= 12 and channels > 12_000


@pytest.mark.parametrize("kind", KINDS)
@examples(15)
@given(data=st.data())
def test_dead_and_odd_channels(tflite_model, run_tflite, kind: str, data) -> None:
    """Scales of 0, nearly 0 and below, biases up to the last bit, weights of -128 among them."""
    odd = st.sampled_from([0.0, 1e-45, 1e-38, 3e-20, 1e-12, -1e-12, -0.004, 0.004, 0.01, -0.01])
    count = data.draw(st.integers(2, 9))
    scales = data.draw(st.lists(odd, min_size=count, max_size=count))
    dead = [abs(scale) < 1e-15 for scale in scales]
    weights = [data.draw(st.sampled_from([0, 1, -128, 127, -5])) for _ in scales]
    extremes = st.sampled_from([-(2**31), 2**31 - 1, -(2**31) + 1, 0])
    bias = [data.draw(extremes if d or not w else st.integers(-4000, 4000)) for d, w in zip(dead, weights, strict=True)]
    zeros = data.draw(st.sampled_from([(3, 0), (-128, -128), (127, 5)]))
    act = data.draw(st.sampled_from([0, 1, 3]))
    content = layer(tflite_model(), kind, weights, bias, 0.02, scales, 0.003, zeros, act)
    network = equal(content, run_tflite, inputs_of(from_tflite(content), [-128, -1, 0, 3, 127]))
    for op in network.ops:
        lower(network, op)  # the firmware takes it, too


def test_a_network_with_dead_and_turned_channels_keeps_the_short_way(tflite_model, run_tflite) -> None:
    """As MIT's mcunet-vww1 (dead channels) and mcunet-320kb (negative and tiny scales) have them."""
    m = tflite_model()
    x = m.tensor([1, 8, 8, 3], 1 / 127, -1)
    y = x
    for kind in ("conv", "depthwise"):
        y = m.conv(y, 8) if kind == "conv" else m.depthwise(y)
        weights, bias = (m.tensors[i] for i in m.ops[-1][1][1:])
        axis = 0 if kind == "conv" else 3
        moved = np.moveaxis(weights["data"], axis, 0)
        moved[[1, 4]] = 0
        bias["data"][[1, 4]] = -(2**31), 2**30
        weights["scale"] = np.array(weights["scale"])
        weights["scale"][[1, 4]] = 0.0, 1e-30
        weights["scale"][[2, 5]] *= -1
    content = m.finish([x], [y])
    images = np.random.default_rng(0).integers(-128, 128, (6, 8, 8, 3)).astype(np.int8)
    network = equal(content, run_tflite, images)
    assert [type(op) for op in network.ops] == [Conv, Depthwise]
    for op in network.ops:
        assert isinstance(op, (Conv, Depthwise)) and op.requant.multipliers.min() > 0
        assert lower(network, op).fields["requant"]["fast"] == "PL_TFLITE"


def test_sums_beyond_32_bits_are_refused_where_they_count(tflite_model) -> None:
    from patchline.errors import UserError

    content = layer(tflite_model(), "CONV_2D", [100, 1], [2**31 - 1, 7], 0.02, [0.01, 0.01], 0.01)
    with pytest.raises(UserError, match="overflow 32 bits"):
        from_tflite(content)
    content = layer(tflite_model(), "FULLY_CONNECTED", [100, 1], [0, 7], 0.02, [-0.01], 0.01)
    with pytest.raises(UserError, match="negative scale, which TFLite itself refuses"):
        from_tflite(content)


SCALES = log_uniform(-12, -1)


@examples(40)
@given(a=SCALES, b=SCALES, y=SCALES, data=st.data())
def test_add_and_mul_of_a_tensor_and_its_rescaled_self(
    tflite_model, run_tflite, a: float, b: float, y: float, data
) -> None:
    code = data.draw(st.sampled_from(["ADD", "MUL"]))
    zeros = [data.draw(st.sampled_from([-128, 127, 0, -3, 40])) for _ in range(3)]
    ratio = max(a, b) / y if code == "ADD" else a * b / y
    assume(2.0**-14 < ratio < 2.0**5)
    m = tflite_model()
    x = m.tensor([1, 16, 256, 1], a, zeros[0])
    other = m.tensor([1, 16, 256, 1], b, zeros[1])
    m.op("QUANTIZE", [x], other)
    result = m.op(code, [x, other], m.tensor([1, 16, 256, 1], y, zeros[2]), f"{code.title()}Options")
    image = np.tile(np.arange(-128, 128).astype(np.int8).reshape(1, 1, 256, 1), (1, 16, 1, 1))
    equal(m.finish([x], [other, result]), run_tflite, image)


NUMBERS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}
FUNCTIONS = ["QUANTIZE", "RELU", "RELU6", "LEAKY_RELU"]


@pytest.mark.parametrize("code", [*NUMBERS, *FUNCTIONS])
@examples(30)
@given(a=SCALES, b=SCALES, y=SCALES, data=st.data())
def test_arithmetic_with_a_number_and_functions(tflite_model, run_tflite, code, a, b, y, data) -> None:
    zeros = [data.draw(st.sampled_from([-128, 127, 0, -3, 40])) for _ in range(3)]
    assume(a * b / y > 2.0**-14 and max(a, b) / y < 2.0**5)
    assume((a, zeros[0]) != (y, zeros[2]))  # else it may be no operator at all
    m = tflite_model()
    x, out = m.tensor([1, 16, 16, 1], a, zeros[0]), m.tensor([1, 16, 16, 1], y, zeros[2])
    if code in NUMBERS:
        number = m.constant(np.array([data.draw(st.integers(-128, 127))], np.int8), b, zeros[1])
        m.op(code, data.draw(st.permutations([x, number])), out, NUMBERS[code])
    else:
        fields = {"Alpha": data.draw(st.sampled_from([0.3, 0.01, 1.0]))} if code == "LEAKY_RELU" else {}
        m.op(code, [x], out, "LeakyReluOptions" if fields else "", **fields)
    image = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    equal(m.finish([x], [out]), run_tflite, image)


@examples(40)
@given(a=SCALES, ratio=log_uniform(-6, 4), data=st.data())
def test_pools_and_means(tflite_model, run_tflite, a: float, ratio: float, data) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    zeros = [data.draw(st.sampled_from([-128, 127, 0, -3, 40])) for _ in range(2)]
    m = tflite_model()
    x = m.tensor([1, height, width, 40], a, zeros[0])
    y = float(np.float32(a / ratio))
    mean = lambda axes, shape: m.op(  # noqa: E731
        "MEAN", [x, m.constant(np.array(axes, np.int32))], m.tensor(shape, y, zeros[1]), "ReducerOptions", KeepDims=True
    )
    outs = [
        mean([1, 2], [1, 1, 1, 40]), mean([1], [1, 1, width, 40]), mean([2], [1, height, 1, 40]),
        m.pool(x, "AVERAGE_POOL_2D", (height, width), (1, 1)), m.pool(x, "AVERAGE_POOL_2D", (2, 2), (1, 1), 0),
    ]  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = rng.integers(-128, 128, (8, height, width, 40)).astype(np.int8)
    equal(m.finish([x], outs), run_tflite, images)
