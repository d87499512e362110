"""torch -> ONNX -> int8 -> network, on a tiny trained net."""

import numpy as np
import onnx
import pytest
import torch

from patchline.errors import UserError
from patchline.network import serialize
from patchline.network.contract import photos
from patchline.network.importers.onnx import from_onnx
from patchline.network.ir import Network
from patchline.network.resize import for_prepared
from patchline.network.scores import confusion
from patchline.quantize import agreement, export_onnx, float_classes, quantize_onnx, run_onnx, run_reference
from patchline.quantize.verify import Agreement
from patchline.search.finetune import fine_tune
from patchline.supernet import StaticNet, Supernet, build_network
from patchline.supernet.evaluate import accuracy
from patchline.supernet.images import resize, to_input
from tiny import TINY, split


@pytest.fixture(scope="module")
def net() -> StaticNet:
    torch.manual_seed(0)
    return fine_tune(Supernet(TINY, 2), TINY.largest(2), split(192), epochs=60, seed=1)


@pytest.fixture(scope="module")
def exported(net: StaticNet) -> onnx.ModelProto:
    return export_onnx(net, "tiny")


@pytest.fixture(scope="module")
def model(exported: onnx.ModelProto) -> onnx.ModelProto:
    return quantize_onnx(exported, split(64).images)


@pytest.fixture(scope="module")
def network(model: onnx.ModelProto) -> Network:
    return from_onnx(model)


def test_the_export_computes_what_torch_computes(net, exported) -> None:
    import onnxruntime

    images = split(8, seed=3).images
    x = to_input(images, net.arch.resolution)
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": np.ascontiguousarray(x.numpy())})
    np.testing.assert_allclose(logits, net(x).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_the_file_tells_nothing_of_the_machine(model) -> None:
    content = model.SerializeToString()
    for word in (b"site-packages", b"/home", b"/root", b"pipeline/patchline", b'File "'):
        assert word not in content
    assert not any(t.external_data for t in model.graph.initializer)


def test_quantisation_is_repeatable(exported, model) -> None:
    again = quantize_onnx(exported, split(64).images)
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_the_input_is_the_pixel_minus_128(network) -> None:
    tensor = network.tensors[network.input]
    assert tensor.zero_point == -128 and np.float32(tensor.scale) == np.float32(1 / 255)


def test_the_network_is_the_one_that_was_planned(net, network) -> None:
    planned = build_network(net.arch)
    assert [type(op) for op in network.ops] == [type(op) for op in planned.ops]
    assert [network.tensors[op.output].shape for op in network.ops] == [
        planned.tensors[op.output].shape for op in planned.ops
    ]
    assert network.macs == planned.macs
    assert [op.rows for op in network.ops] == [op.rows for op in planned.ops]


def test_pictures_of_the_prepared_size_give_the_same_outputs(net, network) -> None:
    """The device is given prepared images and makes the network's input itself, as training did."""
    contract = photos(24)
    behind = for_prepared(network, contract)
    assert behind.contract == contract
    planned = build_network(net.arch, image_size=24)
    assert [type(op) for op in behind.ops] == [type(op) for op in planned.ops]
    assert [(op.rows, op.cols) for op in behind.ops] == [(op.rows, op.cols) for op in planned.ops]
    pictures = np.random.default_rng(0).integers(0, 256, (20, 24, 24, 3), dtype=np.uint8)
    resolution = net.arch.resolution
    assert np.array_equal(run_reference(behind, pictures), run_reference(network, resize(pictures, resolution)))
    with pytest.raises(UserError, match=r"the network takes \[N, 24, 24, 3\]"):
        run_reference(behind, resize(pictures, resolution))


def test_int8_keeps_the_accuracy_and_agrees_with_onnxruntime(net, model, network) -> None:
    test = split(200, seed=4)
    reference = run_reference(network, test.images)
    output = network.tensors[network.outputs[0]]
    other = run_onnx(model, test.images, output.scale, output.zero_point)
    assert (reference.argmax(1) == test.labels).mean() >= accuracy(net, test.images, test.labels) - 0.03
    counts = agreement(reference, other)
    assert counts.images == 200 and counts.holds, counts


def test_confusions_of_the_float_net_add_up_to_its_accuracy(net) -> None:
    test = split(70, seed=6)
    counts = np.array(confusion(float_classes(net, test.images), test.labels, 2))
    assert counts.sum(axis=1).tolist() == np.bincount(test.labels, minlength=2).tolist()
    assert np.trace(counts) / 70 == accuracy(net, test.images, test.labels)


def test_confusion_is_actual_by_predicted() -> None:
    assert confusion(np.array([1, 1, 2, 0]), np.array([0, 1, 0, 0]), 3) == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_the_network_file_brings_the_same_network_back(network, tmp_path) -> None:
    serialize.save(network, tmp_path / "network.npz")
    images = split(10, seed=5).images
    assert np.array_equal(
        run_reference(serialize.load(tmp_path / "network.npz"), images), run_reference(network, images)
    )


def test_agreement_counts() -> None:
    a = np.array([[10, 20], [5, 6], [9, 0], [7, 7]], dtype=np.int8)
    b = np.array([[10, 21], [6, 5], [9, 3], [7, 7]], dtype=np.int8)
    counts = agreement(a, b)
    assert counts == Agreement(images=4, values=8, equal=4, within_one=7, same_class=3, excused=1)
    assert not counts.holds and counts.broken is False
    assert agreement(a, a).holds
    assert agreement(a, -a).broken


def test_one_step_on_each_value_may_turn_a_tie() -> None:
    counts = agreement(np.array([[-7, -5]], dtype=np.int8), np.array([[-6, -6]], dtype=np.int8))
    assert (counts.within_one, counts.same_class, counts.excused) == (2, 0, 1) and counts.holds
