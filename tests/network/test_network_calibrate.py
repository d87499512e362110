"""Float ONNX models quantised here: what calibration makes is always taken, and comes close to the float model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from patchline.errors import UserError
from patchline.network import reference
from patchline.network.importers.calibrate import calibrated
from patchline.network.ir import Conv, Depthwise

SHAPE = (1, 3, 12, 12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight inputs in [0, 1)."""
    made = tmp_path / "inputs"
    made.mkdir()
    for i in range(8):
        np.save(made / f"{i}.npy", np.random.default_rng(i).random(SHAPE, dtype=np.float32))
    return made


def close(model: onnx.ModelProto, folder: Path, error: float = 0.06):
    """The network; asserts that the mean error of its outputs is a small part of their mean magnitude."""
    import onnxruntime

    path = folder.parent / "float.onnx"
    onnx.save(model, path)
    network = calibrated(path, folder)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    source = network.tensors[network.input]
    for file in sorted(folder.glob("*.npy"))[:4]:
        x = np.load(file)
        steps = np.clip(np.rint(x[0].transpose(1, 2, 0) / source.scale) + source.zero_point, -128, 127)
        got = reference.run(network, steps.astype(np.int8))
        for name, want in zip(network.outputs, session.run(None, {"x": x}), strict=True):
            tensor = network.tensors[name]
            real = (got[name].astype(np.float64) - tensor.zero_point) * tensor.scale
            plain = want[0].transpose(1, 2, 0) if want.ndim == 4 else want
            assert np.abs(real.ravel() - plain.ravel()).mean() <= error * np.abs(plain).mean() + 1e-9, name
    return network


def chained_means(m, y: str) -> str:
    y = m.op("ReduceMean", y, m.constant(np.array([3])), keepdims=0)
    return m.op("ReduceMean", y, m.constant(np.array([2])), keepdims=0)


def resized(m, y: str) -> str:
    size = m.constant(np.array([1, 1, 2, 2], np.float32))
    return m.op(
        "Resize", y, "", size, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
    )


STEPS = {
    "chained means": chained_means,
    "mean over rows": lambda m, y: m.op("ReduceMean", y, m.constant(np.array([2])), keepdims=1),
    "mean, then hard sigmoid": lambda m, y: m.op("HardSigmoid", m.op("ReduceMean", y, m.constant(np.array([2, 3])))),
    "hard swish, then maximum": lambda m, y: m.op("GlobalMaxPool", m.op("HardSwish", y)),
    "hard swish, then pool": lambda m, y: m.op("MaxPool", m.op("HardSwish", y), kernel_shape=[2, 2], strides=[2, 2]),
    "elu, then resize": lambda m, y: resized(m, m.op("Elu", y)),
    "exponential, then relu": lambda m, y: m.op("Relu", m.op("Sub", m.op("Exp", y), m.constant(np.float32(1)))),
    "relu": lambda m, y: m.op("Relu", y),
    "difference, then quotient": lambda m, y: m.op(
        "Div", m.op("Sub", y, m.constant(np.float32([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1))),
        m.constant(np.float32([0.2, 0.25, 0.3]).reshape(1, 3, 1, 1)),
    ),
    "average": lambda m, y: m.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_every_step_gets_the_scales_that_it_needs(onnx_model, folder, step: str, place: str) -> None:
    """Also right at the model's input and end, where onnxruntime's calibration leaves values in float."""
    m = onnx_model(list(SHAPE), opset=18)
    if place == "first" and step == "relu":
        pytest.skip("a model of one Relu on its input computes nothing")
    y = STEPS[step](m, m.conv("x", 3, 3, (1, 1)) if place != "first" else "x")
    close(m.float_model(m.dense(m.op("Flatten", y), flat_size(m, y), 5) if place == "middle" else y), folder)


def flat_size(m, y: str) -> int:
    info = next(v for v in m.float_model(y).graph.output if v.name == y)
    return int(np.prod([dim.dim_value for dim in info.type.tensor_type.shape.dim]))


def test_normalisation_in_the_first_layers_costs_one_operator(onnx_model, folder) -> None:
    m = onnx_model(list(SHAPE), opset=18)
    y = m.conv(STEPS["difference, then quotient"](m, "x"), 3, 8)
    network = close(m.float_model(y), folder)
    assert [type(op) for op in network.ops] == [Depthwise, Conv]


@pytest.mark.parametrize("where", ["convolution", "fully connected"])
def test_channels_whose_weights_are_nearly_nothing(onnx_model, folder, where: str) -> None:
    """In the scale of such weights the bias is a number of nearly 32 bits, and the sum does not fit."""
    m = onnx_model(list(SHAPE))
    y = m.op("Relu", m.conv("x", 3, 4))
    y = m.conv(y, 4, 40, (1, 1)) if where == "convolution" else m.dense(m.op("Flatten", y), 400, 40)
    weights, bias = m.initializers[-2:]
    tiny = onnx.numpy_helper.to_array(weights).copy()
    channels = tiny if where == "convolution" else tiny.T
    channels[:39] = np.geomspace(1e-12, 1e-4, 39).reshape(-1, *(1,) * (tiny.ndim - 1))
    weights.CopyFrom(onnx.numpy_helper.from_array(tiny, weights.name))
    bias.CopyFrom(onnx.numpy_helper.from_array(np.linspace(0.5, 1, 40, dtype=np.float32), bias.name))
    close(m.float_model(y), folder)


def test_shapes_that_onnxruntime_cannot_infer_do_not_matter(onnx_model, folder, monkeypatch) -> None:
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    def give_up(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(SymbolicShapeInference, "infer_shapes", give_up)
    m = onnx_model(list(SHAPE))
    close(m.float_model(m.conv("x", 3, 4)), folder)


def test_errors_of_onnxruntime_say_what_and_where(onnx_model, folder, monkeypatch) -> None:
    from onnxruntime import quantization

    def quantize_static(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(quantization, "quantize_static", quantize_static)
    m = onnx_model(list(SHAPE))
    with pytest.raises(UserError, match=r"AssertionError \(.*, quantize_static\); check that it runs in onnxruntime"):
        close(m.float_model(m.conv("x", 3, 4)), folder)


def test_values_that_are_not_finite_are_named(onnx_model, folder) -> None:
    m = onnx_model(list(SHAPE))
    model = m.float_model(m.conv("x", 3, 4))
    np.save(folder / "3.npy", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(UserError, match=r"3\.npy holds values that are not finite"):
        close(model, folder)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full((4, 3, 3, 3), np.inf, np.float32), "c0"))
    with pytest.raises(UserError, match="'c0' holds values that are not finite"):
        close(model, folder)


def test_nobody_is_asked_to_quantise_again(onnx_model, folder) -> None:
    m = onnx_model(list(SHAPE))
    y = m.op("Exp", m.op("Mul", m.conv("x", 3, 4), m.constant(np.float32(300))))  # infinite
    with pytest.raises(UserError, match="give --calibrate images") as caught:
        close(m.float_model(y), folder)
    assert "quantise" not in str(caught.value)


def test_the_inputs_come_from_the_whole_folder(onnx_model, tmp_path) -> None:
    """Folders of classes are read one after the other: the first 256 files are all of the dark class."""
    for name, count, brightest in (("dark", 260, 0.5), ("light", 140, 2.0)):
        (tmp_path / "inputs" / name).mkdir(parents=True)
        for i in range(count):
            values = np.random.default_rng(i).random(SHAPE, dtype=np.float32) * np.float32(brightest)
            np.save(tmp_path / "inputs" / name / f"{i}.npy", values)
    m = onnx_model(list(SHAPE))
    onnx.save(m.float_model(m.conv("x", 3, 4)), tmp_path / "float.onnx")
    network = calibrated(tmp_path / "float.onnx", tmp_path / "inputs")
    assert network.tensors[network.input].scale * 255 == pytest.approx(2.0, rel=0.02)
