"""`patchline compile`: from a model file to sources and firmware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from patchline.cli import app
from patchline.network import serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.importers.calibrate import quantise_with_folder
from patchline.network.importers.onnx import from_onnx
from patchline.network.ir import Resize
from patchline.schedule.plan import load_plan

RUNNER = CliRunner()


def call(*args: object):
    return RUNNER.invoke(app, ["compile", *map(str, args)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    b = NetworkBuilder(24, 24, 3, name="small")
    x = b.mbconv(b.conv("input", 8, 3, 2), 8, 3, 1, 3)
    serialize.save(b.finish(b.conv(b.global_pool(x), 4, relu=False)), tmp_path / "small.npz")
    return tmp_path / "small.npz"


def float_onnx(path: Path, shape=(1, 3, 16, 16)) -> Path:
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.3, s).astype(np.float32) for s in ((6, shape[1], 3, 3), (6, 4))]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "w1"], ["y"]),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def photos(folder: Path, count: int = 5) -> Path:
    from PIL import Image

    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)).save(folder / "sub" / f"{i}.png")
    return folder


def test_sources_plan_and_network_are_written(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(model, "--target", "stm32f746", "-o", out, "--sources-only", "--max-extra-macs", 0, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    plan = load_plan(out / "plan.json")
    assert figures["sram_peak_bytes"] == plan.sram_peak_bytes and plan.extra_macs == 0
    assert serialize.load(out / "network.npz").name == "small"
    assert (out / "generated" / "small.c").is_file()
    again = call(model, "--target", "stm32f412", "-o", out, "--sources-only", "--input", "resident")
    assert again.exit_code == 0, again.output
    assert load_plan(out / "plan.json").input_mode == "resident"


def test_the_package_states_the_input_contract(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (model, "--target", "stm32f746", "-o", out, "--sources-only")
    result = call(*arguments, "--json")
    assert json.loads(result.stdout)["input"]["pixels"] == [0, 1]
    header = (out / "generated" / "small.h").read_text()
    assert "24 x 24 x 3 rgb picture, pixels 0..255 stand for 0..1: int8 = pixel - 128" in header
    assert "small_input_of_pixel" not in header
    result = call(*arguments, "--pixels", "-1..1", "--name", "vww01")
    assert "pixels 0..255 stand for -1..1" in " ".join(result.output.split()), result.output
    assert '#define MODEL_NAME "vww01"' in (out / "generated" / "model_config.h").read_text()
    assert "vww01_input_of_pixel[256]" in (out / "generated" / "vww01.h").read_text()
    network = serialize.load(out / "network.npz")
    assert network.name == "vww01" and network.contract.pixels == (-1, 1)
    result = call(*arguments, "--pixels", "none")
    assert result.exit_code == 0
    assert "values that are no picture, int8 as they are" in (out / "generated" / "small.h").read_text()


def test_the_device_changes_the_size_of_pictures(model: Path, tmp_path: Path) -> None:
    arguments = (model, "--target", "stm32f746", "-o", tmp_path / "out", "--sources-only", "--image-size", "36x36")
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    network = serialize.load(tmp_path / "out" / "network.npz")
    assert network.contract.shape == (36, 36, 3) and isinstance(network.ops[0], Resize)
    assert "#define SMALL_INPUT_HEIGHT 36" in (tmp_path / "out" / "generated" / "small.h").read_text()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--image-size", "96", "must be height x width"), ("--image-size", "48x24", "48 x 24 has other proportions"),
     ("--pixels", "0-1", "say what the pixels 0 and 255 stand for"), ("--name", "a b", "up to 40 letters")],
)  # fmt: skip
def test_wrong_words_about_the_input_are_refused(model: Path, tmp_path: Path, option, value, message) -> None:
    result = call(model, "--target", "stm32f746", "-o", tmp_path / "out", option, value)
    assert result.exit_code == 2 and message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_pixels_calibrate_as_they_are_said_to_be(tmp_path: Path) -> None:
    path, folder = float_onnx(tmp_path / "float.onnx"), photos(tmp_path / "photos")
    arguments = (path, "--target", "stm32f746", "-o", tmp_path / "out", "--calibrate", folder, "--sources-only")
    result = call(*arguments, "--pixels", "-1..1")
    assert result.exit_code == 0, result.output
    network = serialize.load(tmp_path / "out" / "network.npz")
    assert network.contract.pixels == (-1, 1) and network.contract.shifts_only
    assert np.float32(network.contract.scale) == np.float32(2 / 255)


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_the_firmware_has_the_planned_size(model: Path, tmp_path: Path) -> None:
    result = call(model, "--target", "stm32f412", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    sizes = json.loads((tmp_path / "out" / "size.json").read_text())
    assert sizes["sram"] == json.loads(result.stdout)["sram_peak_bytes"]


def test_a_folder_with_other_files_is_never_deleted(model: Path, tmp_path: Path) -> None:
    keep = tmp_path / "photos" / "me.jpg"
    keep.parent.mkdir()
    keep.write_text("dear")
    result = call(model, "--target", "stm32f746", "-o", keep.parent, "--sources-only")
    assert result.exit_code == 2 and "would be deleted" in result.output
    assert keep.read_text() == "dear"


def test_activations_and_what_is_reserved_for_them_are_both_shown(model: Path, tmp_path: Path) -> None:
    args = (model, "--target", "stm32f746", "-o", tmp_path / "out", "--sources-only")
    plan_file, shown = tmp_path / "out" / "plan.json", call(*args).stdout
    plan = load_plan(plan_file)
    assert plan.arena_bytes > plan.activation_peak_bytes  # kernel scratch
    lines = {line.split("  ")[0].strip(): line for line in shown.splitlines() if line.strip()}
    assert f"{plan.activation_peak_bytes / 1024:.1f} KiB" in lines["activation peak"]
    assert f"{plan.arena_bytes / 1024:.1f} KiB" in lines["arena"]
    figures = json.loads(call(*args, "--json").stdout)
    assert figures["arena_bytes"] == plan.arena_bytes


def test_a_model_that_cannot_be_compiled_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = float_onnx(tmp_path / "float.onnx")
    for args in ([path], [tmp_path / "absent.onnx"], [path, "--calibrate", tmp_path / "nowhere"]):
        result = call(*args, "--target", "stm32f746", "-o", out)
        assert result.exit_code == 2 and "error: " in result.output, result.output
        assert "Traceback" not in result.output and not out.exists()


def test_a_network_too_large_for_the_board_ends_with_3(tmp_path: Path) -> None:
    b = NetworkBuilder(64, 64, 3)
    serialize.save(b.finish(b.conv(b.conv("input", 1500), 1500)), tmp_path / "large.npz")
    result = call(tmp_path / "large.npz", "--target", "stm32f412", "-o", tmp_path / "out")
    assert result.exit_code == 3 and "does not fit stm32f412" in result.output
    assert not (tmp_path / "out").exists()


def test_a_float_model_is_quantised_with_a_folder_of_photos(tmp_path: Path) -> None:
    path, folder = float_onnx(tmp_path / "float.onnx"), photos(tmp_path / "photos")
    result = call(path, "--target", "stm32f746", "-o", tmp_path / "out", "--calibrate", folder, "--sources-only")
    assert result.exit_code == 0, result.output
    network = serialize.load(tmp_path / "out" / "network.npz")
    source = network.tensors[network.input]
    assert source.shape == (16, 16, 3) and source.zero_point == -128
    assert np.float32(source.scale) == np.float32(1 / 255)
    assert network.name == "float"
    assert network.declared is not None and network.declared.pixels == (0, 1)  # nothing is left to guess
    assert "a guess" not in result.output


def test_photos_of_16_bits_calibrate_as_those_of_8_do(tmp_path: Path) -> None:
    from PIL import Image

    path = float_onnx(tmp_path / "float.onnx", (1, 1, 16, 16))
    made = []
    for depth, factor in ((np.uint8, 1), (np.uint16, 257)):
        folder = tmp_path / f"{np.dtype(depth).itemsize}"
        folder.mkdir()
        for i in range(3):
            values = np.random.default_rng(i).integers(0, 100, (16, 16)).astype(depth) * depth(factor)
            Image.fromarray(values).save(folder / f"{i}.png")
        made.append(quantise_with_folder(path, folder).SerializeToString())
    assert made[0] == made[1]


def test_inputs_that_are_no_images_come_as_arrays(tmp_path: Path) -> None:
    path = float_onnx(tmp_path / "float.onnx", (1, 5, 8, 9))
    with pytest.raises(Exception, match="is no image"):
        quantise_with_folder(path, photos(tmp_path / "photos"))
    folder = tmp_path / "arrays"
    folder.mkdir()
    for i in range(4):
        np.save(folder / f"{i}.npy", np.random.default_rng(i).normal(0, 2, (5, 8, 9)))
    network = from_onnx(quantise_with_folder(path, folder))
    assert network.tensors[network.input].shape == (8, 9, 5)
    np.save(folder / "0.npy", np.zeros(3))
    with pytest.raises(Exception, match="has shape"):
        quantise_with_folder(path, folder)


def test_unreadable_photos_are_named(tmp_path: Path) -> None:
    path, folder = float_onnx(tmp_path / "float.onnx"), photos(tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"not a photo")
    with pytest.raises(Exception, match=r"broken\.jpg is not a readable image"):
        quantise_with_folder(path, folder)
