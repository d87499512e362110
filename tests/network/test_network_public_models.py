"""Public TFLite models, where they are at hand: outputs identical to TFLite's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patchline.errors import UserError
from patchline.network import reference
from patchline.network.importers import load_network
from patchline.network.ir import Pad

MODELS = Path(__file__).parents[3] / "shared" / "models"


@pytest.mark.parametrize(
    ("name", "macs", "shape"),
    [("vww_96_int8.tflite", 7_489_664, (96, 96, 3)), ("mcunet-vww1.tflite", 11_578_816, (80, 80, 3))],
)
def test_twenty_random_images(run_tflite, name: str, macs: int, shape: tuple[int, int, int]) -> None:
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    network = load_network(path)
    assert network.macs == macs
    source = network.tensors[network.input]
    assert source.shape == shape
    assert not any(isinstance(op, Pad) for op in network.ops)
    images = np.random.default_rng(0).integers(-128, 128, (20, *shape)).astype(np.int8)
    (want,) = run_tflite(path.read_bytes(), images, source.scale, source.zero_point)
    output = network.tensors[network.outputs[0]]
    if want.dtype == np.float32:
        want = np.rint(want / np.float32(output.scale) + output.zero_point)
    got = reference.run_batch(network, images)[output.name]
    assert np.array_equal(got.reshape(20, -1), want.reshape(20, -1))


def test_a_model_whose_operators_have_only_the_new_field_is_refused_by_their_names() -> None:
    path = MODELS / "hps_model_2022_01_05_89ops.tflite"
    if not path.exists():
        pytest.skip(f"{path.name} is not at hand")
    with pytest.raises(UserError) as caught:
        load_network(path)
    problems = str(caught.value).split("\n  - ")[1:]
    kinds = [problem.split(": ")[0].split("(")[-1].rstrip(")") for problem in problems]
    assert len(kinds) == 12 and set(kinds) == {"STRIDED_SLICE", "CONCATENATION"}
