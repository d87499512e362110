"""Every ONNX operator in a small quantised model, against onnxruntime run node by node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from patchline.errors import UserError
from patchline.network import reference
from patchline.network.importers.onnx import from_onnx
from patchline.network.ir import Conv, Depthwise, GlobalPool, Lookup, Mul, Network, Pad


def agree(model: onnx.ModelProto, count: int = 8, equal: float = 0.99) -> Network:
    """The network; asserts that its outputs are onnxruntime's: within 1 step, and the same in a share `equal`."""
    import onnxruntime

    network = from_onnx(model)
    source = network.tensors[network.input]
    images = np.random.default_rng(1).integers(-128, 128, (count, *source.shape)).astype(np.int8)
    got = reference.run_batch(network, images)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    layout = model.graph.input[0].type.tensor_type.shape.dim
    real = ((images.astype(np.float32) - source.zero_point) * np.float32(source.scale)).astype(np.float32)
    channels_first = len(layout) == 4 and layout[1].dim_value == source.channels and source.channels < 8
    wanted = []
    for x in real:
        x = x.transpose(2, 0, 1) if channels_first else x
        wanted.append(session.run(None, {feed.name: x.reshape([d.dim_value or 1 for d in layout])}))
    assert len(network.outputs) == len(wanted[0])
    for i, name in enumerate(network.outputs):
        tensor = network.tensors[name]
        want = np.stack([w[i] for w in wanted])
        if want.ndim == 5 and want.shape[2] == tensor.channels:  # NCHW -> HWC
            want = want.transpose(0, 1, 3, 4, 2)
        if want.ndim == 4 and want.shape[2] == tensor.channels:  # NCH -> HC
            want = want.transpose(0, 1, 3, 2)
        steps = np.clip(np.rint(want / np.float32(tensor.scale)) + tensor.zero_point, -128, 127)
        difference = got[name].reshape(count, -1) - steps.reshape(count, -1)
        assert np.abs(difference).max() <= 1, name
        assert (difference == 0).mean() >= equal, name
        assert len(np.unique(steps)) > 3, "the test does not exercise the operator"
    return network


CONVOLUTIONS = {
    "padded": {"kernel": (3, 3), "pads": [1, 1, 1, 1]},
    "asymmetric": {"kernel": (3, 5), "pads": [0, 2, 1, 1], "strides": [2, 1]},
    "same_upper": {"kernel": (4, 3), "auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same_lower": {"kernel": (4, 3), "auto_pad": "SAME_LOWER", "strides": [2, 2]},
    "shortcut": {"kernel": (1, 1), "strides": [2, 2]},
    "large": {"kernel": (7, 7), "pads": [3, 3, 3, 3], "strides": [2, 2]},
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("activation", ["", "Relu", "Clip"])
def test_convolutions(onnx_model, tmp_path, case: str, activation: str) -> None:
    m = onnx_model([1, 3, 11, 10])
    y = m.conv("x", 3, 6, **CONVOLUTIONS[case])
    if activation == "Relu":
        y = m.op("Relu", y)
    if activation == "Clip":
        y = m.op("Clip", y, m.constant(np.float32(0)), m.constant(np.float32(6)))
    y = m.conv(y, 6, 6, (3, 3), 6, pads=[1, 1, 1, 1])
    network = agree(m.quantised(tmp_path, y))
    assert [type(op) for op in network.ops] == [Conv, Depthwise]


@pytest.mark.parametrize(
    "options",
    [
        {"activations": "QUInt8"},
        {"activations": "QUInt8", "per_channel": False},
        {"ActivationSymmetric": True},
        {"activations": "QUInt8", "weights": "QUInt8", "per_channel": False, "WeightSymmetric": True},
    ],
)
def test_types_and_symmetries(onnx_model, tmp_path, options: dict) -> None:
    m = onnx_model([1, 3, 12, 12])
    a = m.op("Relu", m.conv("x", 3, 8, pads=[1, 1, 1, 1]))
    b = m.op(
        "Clip", m.conv(a, 8, 8, (3, 3), 8, pads=[1, 1, 1, 1]), m.constant(np.float32(0)), m.constant(np.float32(6))
    )
    c = m.op("Add", a, m.conv(b, 8, 8, (1, 1)))
    y = m.dense(m.op("Flatten", m.op("GlobalAveragePool", c)), 8, 5)
    network = agree(m.quantised(tmp_path, y, **options), 40)
    assert not any(isinstance(op, Lookup) for op in network.ops)


def test_squeeze_and_excitation_with_hard_swish(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 10, 10])
    x = m.op("HardSwish", m.conv("x", 3, 8, pads=[1, 1, 1, 1]))
    gate = m.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    gate = m.op("Relu", m.conv(gate, 8, 4, (1, 1)))
    gate = m.op("HardSigmoid", m.conv(gate, 4, 8, (1, 1)), alpha=1 / 6, beta=0.5)
    y = m.conv(m.op("Mul", gate, x), 8, 6, (1, 1))
    network = agree(m.quantised(tmp_path, y), 20)
    assert sum(isinstance(op, Mul) for op in network.ops) == 1


def test_swish_written_as_a_product_becomes_one_table(onnx_model, tmp_path) -> None:
    """Where only x is quantised, x * sigmoid(x) and x * clip(x + 3, 0, 6) / 6 are functions of x."""
    m = onnx_model([1, 3, 6, 6])
    a = m.conv("x", 3, 8)
    six = m.op("Clip", m.op("Add", a, m.constant(np.float32(3))), m.constant(np.float32(0)), m.constant(np.float32(6)))
    b = m.op("Div", m.op("Mul", a, six), m.constant(np.float32(6)))
    c = m.conv(b, 8, 8, (1, 1))
    y = m.conv(m.op("Mul", c, m.op("Sigmoid", c)), 8, 4, (1, 1))
    model = m.quantised(tmp_path, y, only=["Conv"])
    network = agree(model)
    assert sum(isinstance(op, Lookup) for op in network.ops) == 2


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
def test_pools(onnx_model, tmp_path, include: int, ceil: int) -> None:
    m = onnx_model([1, 3, 11, 12])
    a = m.conv("x", 3, 6)
    pads = [0, 0, 0, 0] if include and ceil else [1, 0, 1, 1]
    y = m.op("MaxPool", a, kernel_shape=[3, 2], strides=[2, 2], pads=pads, ceil_mode=ceil)
    kept = 0 if include and ceil else include
    z = m.op("AveragePool", a, kernel_shape=[3, 3], strides=[2, 1], pads=pads, ceil_mode=ceil, count_include_pad=kept)
    w = m.op("AveragePool", a, kernel_shape=[9, 10])
    v = m.op("GlobalMaxPool", a)
    # an average of 4 or 6 steps is often an exact half, which onnxruntime rounds to even
    network = agree(m.quantised(tmp_path, y, z, w, v), equal=0.95)
    assert sum(isinstance(op, GlobalPool) for op in network.ops) == 1


@pytest.mark.parametrize("axes", [[2, 3], [2], [-1]])
@pytest.mark.parametrize("keep", [0, 1])
def test_means(onnx_model, tmp_path, axes: list[int], keep: int) -> None:
    m = onnx_model([1, 3, 6, 7], opset=18)
    y = m.op("ReduceMean", m.conv("x", 3, 6), m.constant(np.array(axes)), keepdims=keep)
    # the end is not quantised: it keeps the scale of the averaged tensor, where halves are frequent
    network = agree(m.quantised(tmp_path, y), 20, equal=0.85)
    assert network.tensors[network.outputs[0]].channels == 6


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("order", [(3, 2), (2, 3)])
def test_a_mean_of_a_mean_is_one_mean(onnx_model, tmp_path, order: tuple[int, int], keep: int) -> None:
    """onnxruntime leaves the value between them in float."""
    m = onnx_model([1, 3, 6, 7], opset=18)
    first = m.op("ReduceMean", m.conv("x", 3, 6), m.constant(np.array([order[0]])), keepdims=keep)
    second = m.op("ReduceMean", first, m.constant(np.array([order[1] if keep else 2])), keepdims=keep)
    network = agree(m.quantised(tmp_path, m.dense(m.op("Flatten", second), 6, 4)), 20)
    assert [type(op) for op in network.ops] == [Conv, GlobalPool, Conv]


def test_flattened_maps_keep_their_order(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 5, 6])
    a = m.conv("x", 3, 4)
    flat = m.op("Reshape", a, m.constant(np.array([0, -1])))
    b = m.dense(flat, 48, 6)
    c = m.dense(m.op("Flatten", m.op("Transpose", a, perm=[0, 2, 3, 1])), 48, 6)
    row = m.op("Unsqueeze", b, m.constant(np.array([2, 3])))
    y = m.conv(row, 6, 5, (1, 1))
    agree(m.quantised(tmp_path, y, c), 20)


def test_matrix_product_with_a_bias_of_its_own(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 12])
    weights = m.rng.normal(0, 0.3, (12, 7)).astype(np.float32)
    a = m.op("Add", m.op("MatMul", "x", m.constant(weights)), m.constant(np.linspace(-1, 1, 7, dtype=np.float32)))
    agree(m.quantised(tmp_path, m.dense(m.op("Relu", a), 7, 4)), 40)


def test_joins_and_enlargement(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    a = m.op("Relu", m.conv("x", 3, 4, pads=[1, 1, 1, 1]))
    b = m.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2])
    up = m.op("Resize", b, "", m.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest", nearest_mode="floor",
              coordinate_transformation_mode="asymmetric")  # fmt: skip
    joined = m.op("Concat", a, up, m.conv("x", 3, 2, pads=[1, 1, 1, 1]), axis=1)
    half = m.op("Resize", b, "", "", m.constant(np.array([1, 4, 8, 8])), mode="nearest")
    agree(m.quantised(tmp_path, m.conv(joined, 10, 5), m.conv(half, 4, 3)))


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Elu", "Softplus"])
def test_functions(onnx_model, tmp_path, kind: str) -> None:
    m = onnx_model([1, 3, 8, 8])
    y = m.conv(m.op(kind, m.conv("x", 3, 6)), 6, 4, (1, 1))
    agree(m.quantised(tmp_path, y))


@pytest.mark.parametrize("kind", ["Softmax", "Sigmoid"])
def test_functions_at_the_end(onnx_model, tmp_path, kind: str) -> None:
    m = onnx_model([1, 3, 6, 6])
    y = m.dense(m.op("Flatten", m.op("MaxPool", m.conv("x", 3, 6), kernel_shape=[4, 4])), 6, 5)
    y = m.op("Mul", y, m.constant(np.float32(2)))
    model = m.quantised(tmp_path, m.op(kind, y))
    network = from_onnx(model)
    assert network.tensors[network.outputs[0]].shape == (1, 1, 5)
    agree(model, 30, equal=0.7)  # ours goes through the 1/256 of softmax before it takes the file's scale


def test_constants_per_channel_and_batch_norm(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    a = m.op("MaxPool", m.conv("x", 3, 6), kernel_shape=[2, 2])
    ramp = np.linspace(-1, 2, 6, dtype=np.float32)
    b = m.op("Add", m.op("Mul", a, m.constant(ramp.reshape(1, 6, 1, 1))), m.constant(ramp.reshape(6, 1, 1)))
    d = m.op("MaxPool", b, kernel_shape=[1, 2])
    c = m.op("BatchNormalization", d, *(m.constant(v) for v in (ramp, ramp, ramp, np.abs(ramp) + 1)))
    network = agree(m.quantised(tmp_path, m.conv(c, 6, 4)), equal=0.95)  # gains of 2 and 1 make many exact halves
    assert sum(isinstance(op, Depthwise) for op in network.ops) == 3


def test_padding_is_folded_into_the_convolution(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    a = m.op("Pad", m.op("Relu", m.conv("x", 3, 6)), m.constant(np.array([0, 0, 1, 2, 0, 0, 1, 0])))
    network = agree(m.quantised(tmp_path, m.conv(a, 6, 4)))
    assert not any(isinstance(op, Pad) for op in network.ops)


def test_channels_last_input_as_converters_from_tensorflow_write_it(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 8, 9, 3])
    y = m.conv(m.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 6, strides=[2, 2])
    y = m.op("Transpose", y, perm=[0, 2, 3, 1])
    network = agree(m.quantised(tmp_path, y))
    assert network.tensors[network.input].shape == (8, 9, 3)


def test_three_outputs_as_a_detection_network_has(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 16, 16])
    a = m.op("Relu", m.conv("x", 3, 8, pads=[1, 1, 1, 1], strides=[2, 2]))
    b = m.op("Relu", m.conv(a, 8, 8, pads=[1, 1, 1, 1], strides=[2, 2]))
    c = m.op("Relu", m.conv(b, 8, 8, pads=[1, 1, 1, 1], strides=[2, 2]))
    heads = [m.conv(v, 8, 6, (1, 1)) for v in (a, b, c)]
    network = agree(m.quantised(tmp_path, *heads))
    assert list(network.outputs) == heads
    assert [network.tensors[name].shape for name in network.outputs] == [(8, 8, 6), (4, 4, 6), (2, 2, 6)]


def test_an_int8_or_uint8_input_needs_no_quantize_node(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    for kind, number in (("QInt8", onnx.TensorProto.INT8), ("QUInt8", onnx.TensorProto.UINT8)):
        model = m.quantised(tmp_path, m.conv("x", 3, 6) if kind == "QInt8" else m.nodes[-1].output[0], activations=kind)
        want = from_onnx(model)
        first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
        for node in model.graph.node:
            node.input[:] = ["x" if name == first.output[0] else name for name in node.input]
        model.graph.node.remove(first)
        model.graph.input[0].type.tensor_type.elem_type = number
        got = from_onnx(model)
        image = np.random.default_rng(0).integers(-128, 128, (8, 8, 3)).astype(np.int8)
        assert np.array_equal(
            reference.run(got, image)[got.outputs[0]], reference.run(want, image)[want.outputs[0]]
        )  # fmt: skip
        assert got.tensors[got.input].zero_point == want.tensors[want.input].zero_point


def test_a_free_batch_size_is_taken_as_one(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    model = m.quantised(tmp_path, m.conv("x", 3, 6))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert from_onnx(model).tensors["x"].shape == (8, 8, 3)


def qdq_graph(
    quantise: dict, dequantise: dict, zero: list | np.ndarray | None = None, opset: int = 21
) -> onnx.ModelProto:
    """One 1x1 convolution; its input's QuantizeLinear and DequantizeLinear have these attributes and this zero point
    (None: none, an empty list: an empty name in its place)."""
    helper, kind = onnx.helper, onnx.TensorProto
    arrays = {
        "s": np.float32(0.02), "sy": np.float32(0.03), "zy": np.int8(3), "ws": np.float32(0.01), "wz": np.int8(0),
        "w": np.random.default_rng(0).integers(-127, 128, (4, 3, 1, 1)).astype(np.int8),
    }  # fmt: skip
    name = [] if zero is None else ["z"] if len(np.atleast_1d(zero)) else [""]
    if name == ["z"]:
        arrays["z"] = np.asarray(zero)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", *name], ["xq"], **quantise),
        helper.make_node("DequantizeLinear", ["xq", "s", *name], ["xd"], **dequantise),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "sy", "zy"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "sy", "zy"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), key) for key, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


INT8, UINT8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8


@pytest.mark.parametrize(
    ("quantise", "zero", "wanted"),
    [
        ({"output_dtype": INT8}, None, 0), ({"output_dtype": UINT8}, None, -128), ({}, None, -128),
        ({"output_dtype": INT8}, [], 0), ({"output_dtype": INT8}, np.int8(-7), -7), ({}, np.uint8(3), -125),
        ({"axis": 1, "saturate": 1}, np.int8(5), 5),
    ],
)  # fmt: skip
def test_the_type_of_a_quantised_tensor(quantise: dict, zero, wanted: int) -> None:
    network = agree(qdq_graph(quantise, {}, zero), equal=0.97)
    assert network.tensors[network.input].zero_point == wanted


@pytest.mark.parametrize(
    ("quantise", "dequantise", "zero", "said"),
    [
        ({"output_dtype": onnx.TensorProto.INT16}, {}, None, "quantises to int16"),
        ({"output_dtype": onnx.TensorProto.FLOAT8E4M3FN}, {}, None, "quantises to float8e4m3fn"),
        ({"output_dtype": 977}, {}, None, "quantises to type 977"),
        ({"output_dtype": INT8}, {}, np.uint8(3), "its zero point is uint8, its output_dtype int8"),
        ({"block_size": 4}, {}, np.int8(3), "a scale for every block of 4 values"),
        ({}, {"block_size": 2}, np.int8(3), "a scale for every block of 2 values"),
        ({"precision": onnx.TensorProto.FLOAT16}, {}, np.int8(3), "its precision is float16"),
        ({}, {"output_dtype": onnx.TensorProto.FLOAT16}, np.int8(3), "its output_dtype is float16"),
        ({"rounding": "up"}, {}, np.int8(3), "its attribute 'rounding' is not known"),
    ],
)
def test_quantisation_that_is_not_understood_is_refused(quantise: dict, dequantise: dict, zero, said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_onnx(qdq_graph(quantise, dequantise, zero, opset=23))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_in_both_forms(onnx_model, tmp_path, approximate: str) -> None:
    m = onnx_model([1, 3, 8, 8], opset=20)
    y = m.conv(m.op("Gelu", m.conv("x", 3, 6), approximate=approximate), 6, 4, (1, 1))
    agree(m.quantised(tmp_path, y))
