"""What cannot be compiled is said at once and completely; nothing crashes, whatever the file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from patchline.errors import UserError
from patchline.network import fixedpoint, reference, validate
from patchline.network.importers import load_network
from patchline.network.importers.onnx import from_onnx
from patchline.network.importers.tflite import from_tflite
from patchline.network.ir import Network, NetworkError, Softmax, Tensor


def small_onnx(onnx_model, folder: Path) -> onnx.ModelProto:
    m = onnx_model([1, 3, 8, 8])
    a = m.op("Relu", m.conv("x", 3, 4, pads=[1, 1, 1, 1]))
    b = m.op("Add", a, m.conv(a, 4, 4, (3, 3), 4, pads=[1, 1, 1, 1]))
    c = m.op("Concat", m.op("HardSigmoid", b), a, axis=1)
    d = m.op("Flatten", m.op("MaxPool", c, kernel_shape=[2, 2], strides=[2, 2]))
    return m.quantised(folder, m.dense(d, 128, 4), m.conv(b, 4, 3, (1, 1)))


def small_tflite(tflite_model, renamed: tuple[int, ...] = ()) -> bytes:
    """With the operators at the places `renamed` called TRANSPOSE_CONV, which is not supported."""
    m = tflite_model()
    x = m.tensor([1, 8, 8, 3], 0.04, -11)
    y = m.conv(x, 4, act=1)
    y = m.op("ADD", [y, m.depthwise(y)], m.like(y, scale=0.2, zero=1), "AddOptions")
    y = m.op("HARD_SWISH", [m.pool(y, "MAX_POOL_2D")], m.tensor([1, 4, 4, 4], 0.2, -100))
    flat = m.op("RESHAPE", [y, m.constant(np.array([1, 64], np.int32))], m.like(y, [1, 64]), "ReshapeOptions")
    mean = m.op("MEAN", [y, m.constant(np.array([1, 2], np.int32))], m.tensor([1, 4], 0.1, 3), "ReducerOptions")
    soft = m.op("SOFTMAX", [m.dense(flat, 5)], m.tensor([1, 5], 1 / 256, -128), "SoftmaxOptions", Beta=1.0)
    for at in renamed:
        m.ops[at] = ("TRANSPOSE_CONV", *m.ops[at][1:3], "", {})
    return m.finish([x], [soft, mean])


def test_every_offending_node_is_listed_in_one_message(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 12, 12])
    a = m.conv("x", 3, 4, dilations=[2, 2])
    c = m.op("Sin", m.conv("x", 3, 4, (5, 5)))
    d = m.conv("x", 3, 6, (5, 5), group=3)
    e = m.op("Mul", d, m.op("CumSum", m.conv("x", 3, 6, (5, 5)), m.constant(np.array(1))))
    with pytest.raises(UserError) as caught:
        from_onnx(m.quantised(tmp_path, a, c, e))
    text = str(caught.value)
    assert caught.value.exit_code == 2
    for part in ("n_conv0 (Conv): dilation [2, 2]", "(Sin): this operator is not supported", "groups", "(CumSum)"):
        assert part in text
    assert "docs/bring-your-own-model.md" in text and text.count("\n  - ") == 4


def test_unsupported_tflite_operators_are_listed_with_a_remedy(tflite_model) -> None:
    m = tflite_model()
    x = m.tensor([1, 8, 8, 3], 0.04, -11)
    a = m.op("TRANSPOSE_CONV", [x], m.tensor([1, 16, 16, 3]))
    b = m.depthwise(x, multiplier=2)
    c = m.op("MEAN", [x, m.constant(np.array([3], np.int32))], m.tensor([1, 8, 8]), "ReducerOptions")
    d = m.op("SOFTMAX", [m.op("ABS", [a], m.like(a))], m.like(a), "SoftmaxOptions")
    with pytest.raises(UserError) as caught:
        from_tflite(m.finish([x], [b, c, d]), "net")
    text = str(caught.value)
    for part in ("(TRANSPOSE_CONV): this operator", "from 3 to 6 channels", "averages over channels", "(ABS): this op"):
        assert part in text
    assert "(SOFTMAX): its output scale is 0.05" in text and text.count("\n  - ") == 5


def problems_of(load) -> list[str]:
    with pytest.raises(UserError) as caught:
        load()
    return str(caught.value).split("\n  - ")[1:]


def test_what_stands_behind_a_refused_tflite_operator_is_checked(tflite_model) -> None:
    m = tflite_model()
    x = m.tensor([1, 8, 8, 3], 0.04, -11)
    y = m.op("TRANSPOSE_CONV", [x], m.tensor([1, 16, 16, 4], 0.05, 3))
    y = m.op("ABS", [m.conv(y, 4)], m.tensor([1, 16, 16, 4], 0.05, 3))
    y = m.depthwise(y, multiplier=2)
    y = m.op("RESHAPE", [y, m.constant(np.array([1, 2048], np.int32))], m.like(y, [1, 2048]), "ReshapeOptions")
    y = m.dense(m.op("SIN", [y], m.tensor([1, 2048], 0.02, type="FLOAT32")), 3)  # of a FLOAT32 nothing more is known
    found = problems_of(lambda: from_tflite(m.finish([x], [m.op("ABS", [y], m.like(y))])))
    assert [p.split(": ")[0].split()[1] for p in found] == [
        "(TRANSPOSE_CONV)", "(ABS)", "(DEPTHWISE_CONV_2D)", "(SIN)", "(ABS)",
    ]  # fmt: skip


def test_what_stands_behind_a_refused_onnx_node_is_checked(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 12, 12])
    a = m.op("Sin", m.conv("x", 3, 4))
    b = m.conv(a, 4, 4, dilations=[2, 2])
    c = m.op("Relu", m.conv(m.op("Cos", b), 4, 4, (3, 3), 2))
    d = m.dense(m.op("Flatten", c), 64, 3)
    found = problems_of(lambda: from_onnx(m.quantised(tmp_path, m.op("Erf", d))))
    assert [p.split(": ")[0].split()[1] for p in found] == ["(Sin)", "(Conv)", "(Cos)", "(Conv)", "(Erf)"]


def test_a_refused_operator_that_makes_no_image_brings_no_other_down(tflite_model) -> None:
    """A Tile to five dimensions, as detectors have it before their boxes."""
    m = tflite_model()
    x = m.tensor([1, 4, 4, 3], 0.04, -11)
    y = m.op("TILE", [x], m.tensor([1, 4, 4, 5, 3], 0.05, 3))
    shape = m.constant(np.array([1, 80, 3], np.int32))
    y = m.op("ABS", [m.op("RESHAPE", [y, shape], m.like(y, [1, 80, 3]), "ReshapeOptions")], m.like(y, [1, 80, 3]))
    found = problems_of(lambda: from_tflite(m.finish([x], [y])))
    assert [p.split(": ")[0].split()[1] for p in found] == ["(TILE)", "(ABS)"]


@pytest.mark.parametrize("places", [*((i,) for i in range(9)), (1, 5), (0, 3, 7)])
def test_a_refused_tflite_operator_brings_no_other_down(tflite_model, places: tuple[int, ...]) -> None:
    found = problems_of(lambda: from_tflite(small_tflite(tflite_model, places)))
    assert len(found) == len(places) and all("(TRANSPOSE_CONV): this operator is not" in p for p in found)


def test_a_refused_onnx_node_brings_no_other_down(onnx_model, tmp_path) -> None:
    model = small_onnx(onnx_model, tmp_path)
    own = [node for node in model.graph.node if not node.op_type.endswith("Linear")]
    rng = np.random.default_rng(0)
    for places in [*([i] for i in range(len(own))), *(rng.choice(len(own), 3, replace=False) for _ in range(6))]:
        kinds = [own[i].op_type for i in places]
        for i in places:
            own[i].op_type = "NonMaxSuppression"
        found = problems_of(lambda: from_onnx(model))
        assert len(found) == len(places) and all("(NonMaxSuppression): this op" in p for p in found), found
        for i, kind in zip(places, kinds, strict=True):
            own[i].op_type = kind
    assert from_onnx(model).ops


def test_nodes_are_checked_even_where_the_input_is_refused(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 12, 12])
    model = m.quantised(tmp_path, m.op("Sin", m.conv("x", 3, 4)))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    found = problems_of(lambda: from_onnx(model))
    assert len(found) == 2 and "fixed input shape" in found[0] and "(Sin)" in found[1]


def test_what_cannot_be_built_is_named_where_it_stands(onnx_model, tmp_path) -> None:
    """A convolution is only built at its QuantizeLinear; the message names the convolution."""
    m = onnx_model([1, 3, 12, 12])
    y = m.conv("x", 3, 4)
    model = m.quantised(tmp_path, m.conv(y, 4, 4, (1, 1)))
    last = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == y)
    tiny = onnx.numpy_helper.from_array(np.float32(1e-12), "tiny")
    model.graph.initializer.append(tiny)
    for node in model.graph.node:
        node.input[:] = ["tiny" if name == last.input[1] else name for name in node.input]
    found, *_ = problems_of(lambda: from_onnx(model))
    assert found.startswith("n_conv0 (Conv): ")


def test_an_output_in_an_order_that_no_shape_expresses_is_refused(onnx_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    a = m.conv("x", 3, 4)
    model = m.quantised(tmp_path, m.op("Flatten", a))
    with pytest.raises(UserError, match="another order"):
        from_onnx(model)
    m.nodes.pop()
    turned = m.op("Flatten", m.op("Transpose", a, perm=[0, 2, 3, 1]))
    assert from_onnx(m.quantised(tmp_path, turned)).tensors["flatten2"].shape == (6, 6, 4)


def test_a_softmax_whose_sum_leaves_32_bits_is_refused(onnx_model, tflite_model, tmp_path) -> None:
    said = r"is a softmax over 8192 channels; above 8191 its sum can leave 32 bits"
    t = tflite_model()
    x = t.tensor([1, 8192], 0.04, -11)
    y = t.op("SOFTMAX", [x], t.tensor([1, 8192], 1 / 256, -128), "SoftmaxOptions", Beta=1.0)
    with pytest.raises(UserError, match=said):
        from_tflite(t.finish([x], [y]))
    m = onnx_model([1, 8192])
    with pytest.raises(UserError, match=said):
        from_onnx(m.quantised(tmp_path, m.op("Softmax", "x")))
    tensors = {name: Tensor(name, 1, 1, 8192, 0.05, 3) for name in ("x", "y")}
    op = Softmax("softmax", ("x",), "y", exp_table=fixedpoint.softmax_exp_table(0.05))
    with pytest.raises(NetworkError, match=f"softmax: {said}"):
        validate.check(Network("n", "x", ("y",), tensors, (op,)))


def onnx_variants(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    def changed(change) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        change(copy.graph)
        return copy

    def cycle(graph) -> None:
        graph.node[4].input[0] = graph.node[-1].output[0]

    def half(graph) -> None:
        graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16

    def dynamic(graph) -> None:
        graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"

    def huge(graph) -> None:
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40

    def two_inputs(graph) -> None:
        graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3]))

    def external(graph) -> None:
        graph.initializer[0].data_location = TensorProto.EXTERNAL

    def scale(graph) -> None:
        name = next(n.input[1] for n in graph.node if n.op_type == "QuantizeLinear")
        for tensor in graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(np.nan), name))

    def unquantised_weights(graph) -> None:
        conv = next(n for n in graph.node if n.op_type == "Conv")
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "plain"))
        conv.input[1] = "plain"

    def no_quantize(graph) -> None:
        add = next(n for n in graph.node if n.op_type == "Add")
        conv = next(n for n in graph.node if n.op_type == "Conv")
        add.input[0] = conv.output[0]

    def missing(graph) -> None:
        graph.node[3].input[0] = "nowhere"

    def twice(graph) -> None:
        graph.node[3].output[0] = graph.node[2].output[0]

    def empty(graph) -> None:
        del graph.output[:]

    changes = (
        cycle, half, dynamic, huge, two_inputs, external, scale, unquantised_weights, no_quantize, missing, twice,
        empty,
    )  # fmt: skip
    return {change.__name__: changed(change) for change in changes}


EXPECTED = {
    "cycle": "cycle", "half": "FLOAT16", "dynamic": "fixed input shape", "huge": "no microcontroller",
    "two_inputs": "exactly one", "external": "another file", "scale": "scale", "unquantised_weights": "not quantised",
    "no_quantize": "quantise the whole model", "missing": "nothing produces", "twice": "more than once",
    "empty": "no outputs",
}  # fmt: skip


@pytest.mark.parametrize("case", EXPECTED)
def test_broken_graphs_get_a_clear_message(onnx_model, tmp_path, case: str) -> None:
    model = onnx_variants(small_onnx(onnx_model, tmp_path))[case]
    with pytest.raises(UserError, match=EXPECTED[case]):
        from_onnx(model)


def test_a_float_model_is_told_how_to_become_int8(onnx_model, tflite_model, tmp_path) -> None:
    m = onnx_model([1, 3, 8, 8])
    with pytest.raises(UserError, match="--calibrate FOLDER"):
        from_onnx(m.float_model(m.conv("x", 3, 4)))
    t = tflite_model()
    x = t.tensor([1, 8, 8, 3], None, type="FLOAT32")
    with pytest.raises(UserError, match="full integer quantisation"):
        from_tflite(t.finish([x], [t.op("RELU", [x], t.tensor([1, 8, 8, 3], None, type="FLOAT32"))]))


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".npz"])
def test_files_that_are_no_models(tmp_path, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    with pytest.raises(UserError, match="no such file"):
        load_network(path)
    rng = np.random.default_rng(0)
    for size in (0, 1, 20, 500):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(UserError):
            load_network(path)
    path.write_bytes(b"\x00\x00\x00\x00TFL3" + rng.bytes(300))
    with pytest.raises(UserError):
        load_network(path)
    with pytest.raises(UserError, match="unknown kind"):
        load_network(tmp_path / "m.pt")


def test_a_file_too_large_for_any_board_is_not_even_read(tmp_path) -> None:
    for suffix in (".onnx", ".tflite"):
        path = tmp_path / f"big{suffix}"
        with path.open("wb") as stream:
            stream.truncate(1 << 30)
        with pytest.raises(UserError, match="more than any microcontroller holds"):
            load_network(path)


def accepts_or_refuses(load) -> bool:
    """Whether the model is taken; then it must also run. Anything but a UserError fails the test."""
    try:
        network = load()
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)
        return False
    if sum(tensor.bytes for tensor in network.tensors.values()) < 1 << 20 and network.macs < 1 << 24:
        reference.run(network, np.zeros(network.tensors[network.input].shape, np.int8))
    return True


@pytest.mark.parametrize("seed", range(4))
def test_mutated_tflite_files(tflite_model, seed: int) -> None:
    content = small_tflite(tflite_model)
    assert accepts_or_refuses(lambda: from_tflite(content))
    rng = np.random.default_rng(seed)
    for _ in range(150):
        broken = bytearray(content)
        for at in rng.integers(8, len(content), rng.integers(1, 6)):
            broken[at] = rng.choice([0, 1, 2, 127, 128, 255, int(broken[at]) ^ (1 << int(rng.integers(8)))])
        if rng.random() < 0.1:
            del broken[int(rng.integers(8, len(content))) :]
        accepts_or_refuses(lambda broken=broken: from_tflite(bytes(broken)))


@pytest.mark.parametrize("seed", range(3))
def test_mutated_onnx_files(onnx_model, tmp_path, seed: int) -> None:
    content = small_onnx(onnx_model, tmp_path).SerializeToString()
    rng = np.random.default_rng(seed)
    path = tmp_path / "m.onnx"
    for _ in range(80):
        broken = bytearray(content)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        accepts_or_refuses(lambda: load_network(path))


NUMBERS = [-(2**31), -2, -1, 0, 1, 2, 3, 7, 2**20, 2**31 - 1, 2**62]


@pytest.mark.parametrize("seed", range(4))
def test_mutated_onnx_graphs(onnx_model, tmp_path, seed: int) -> None:
    """Attributes, edges, operators and constants changed at random: valid files with nonsense in them."""
    model = small_onnx(onnx_model, tmp_path)
    rng = np.random.default_rng(seed)
    kinds = [
        "Conv",
        "Add",
        "Mul",
        "Relu",
        "Reshape",
        "Transpose",
        "MaxPool",
        "Softmax",
        "Concat",
        "Pad",
        "Gemm",
        "Resize",
        "Squeeze",
        "Slice",
        "Gather",
        "ReduceMean",
        "AveragePool",
        "QuantizeLinear",
        "DequantizeLinear",
        "Clip",
    ]
    for _ in range(100):
        broken = onnx.ModelProto()
        broken.CopyFrom(model)
        graph = broken.graph
        names = [name for node in graph.node for name in node.output] + [t.name for t in graph.initializer]
        for _ in range(int(rng.integers(1, 4))):
            node = graph.node[int(rng.integers(len(graph.node)))]
            what = int(rng.integers(6))
            if what == 0:
                node.op_type = str(rng.choice(kinds))
            elif what == 1 and node.input:
                node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
            elif what == 2 and node.attribute:
                attribute = node.attribute[int(rng.integers(len(node.attribute)))]
                if attribute.ints:
                    attribute.ints[int(rng.integers(len(attribute.ints)))] = int(rng.choice(NUMBERS))
                attribute.i = int(rng.choice(NUMBERS))
            elif what == 3:
                key = str(rng.choice(["strides", "pads", "kernel_shape", "perm", "axes", "group", "axis", "dilations"]))
                values = [int(v) for v in rng.choice(NUMBERS, int(rng.integers(1, 5)))]
                value = values[0] if key in ("group", "axis") else values
                kept = [a for a in node.attribute if a.name != key]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(key, value)])
            elif what == 4:
                tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
                array = onnx.numpy_helper.to_array(tensor)
                odd = array.reshape(-1)[: int(rng.integers(0, array.size + 1))] if rng.random() < 0.5 else array * 0
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(odd), tensor.name))
            else:
                dims = graph.input[0].type.tensor_type.shape.dim
                dims[int(rng.integers(4))].dim_value = int(rng.choice(NUMBERS))
        accepts_or_refuses(lambda broken=broken: from_onnx(broken))
