"""The input contract: what pixels become, what is guessed of an input, and that it travels with the network."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline.errors import UserError
from patchline.network import reference, serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.contract import InputContract, guessed, parse_pixels, photos, quantisation_of
from patchline.network.importers import load_network
from patchline.network.ir import Network, NetworkError
from patchline.network.resize import for_prepared, taking, with_pixels

MODELS = Path(__file__).parents[3] / "shared" / "models"
PIXELS = np.arange(256)


def small(channels: int = 3, scale: float = 1 / 255, zero: int = -128) -> Network:
    b = NetworkBuilder(8, 8, channels, name="small")
    network = b.finish(b.conv("input", 4, 3, 2))
    source = replace(network.tensors["input"], scale=scale, zero_point=zero)
    return replace(network, tensors={**network.tensors, "input": source})


def test_pixels_that_stand_for_0_to_1_become_pixel_minus_128() -> None:
    contract = photos(96)
    assert contract.shape == (96, 96, 3) and contract.shifts_only
    assert contract.table.tolist() == list(range(-128, 128))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    assert np.array_equal(contract.values_of(pictures), pictures.astype(int) - 128)


@given(
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.1, 2.6)]),
    st.floats(0.001, 3.0).map(np.float32).map(float),
    st.integers(-128, 127),
)
def test_a_pixel_becomes_the_nearest_value(pixels: tuple[float, float], scale: float, zero: int) -> None:
    table = InputContract(8, 8, 3, "rgb", scale, zero, pixels).table
    exact = (pixels[0] + PIXELS * (pixels[1] - pixels[0]) / 255) / scale + zero
    assert np.all(np.abs(np.clip(exact, -128, 127) - table) <= 0.5 + 2.0**-9)
    assert np.all(np.diff(table.astype(int)) >= 0)


@pytest.mark.parametrize("pixels", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_the_usual_quantisations_lose_no_pixel(pixels: tuple[float, float]) -> None:
    """Also where the exact value is half-way between two steps: 255 steps of -1..1 have no whole zero point."""
    scale, zero = quantisation_of(pixels)
    for stored in (scale, float(np.float32(scale))):
        contract = guessed((8, 8, 3), stored, zero)
        assert contract.pixels == pixels and contract.shifts_only


@pytest.mark.parametrize(
    ("shape", "scale", "zero", "colour", "pixels"),
    [
        ((96, 96, 3), 1 / 255, -128, "rgb", (0, 1)),
        ((96, 96, 1), 1 / 255, -128, "gray", (0, 1)),
        ((80, 80, 3), 0.007839307, 0, "rgb", (-1, 1)),
        ((32, 32, 3), 1.0, -128, "rgb", (0, 255)),
        ((49, 10, 1), 0.5847029, 83, "none", None),  # MFCCs
        ((1, 1, 640), 0.391, 89, "none", None),  # a vector
        ((8, 8, 4), 1 / 255, -128, "none", None),
        ((64, 64, 3), 0.018, -12, "none", None),  # mean and deviation taken off: nobody can know
    ],
)
def test_what_is_guessed(shape, scale, zero, colour, pixels) -> None:
    contract = guessed(shape, scale, zero)
    assert (contract.colour, contract.pixels) == (colour, pixels)


@pytest.mark.skipif(not MODELS.is_dir(), reason="no public models beside the checkout")
@pytest.mark.parametrize(
    ("name", "pixels"),
    [("vww_96_int8", (0, 1)), ("mlperf_ic_resnet8", (0, 255)), ("mlperf_kws", None), ("mlperf_ad", None),
     ("mcunet-vww1", (-1, 1)), ("st_mobilenet_v2_0.35_128", (-1, 1)), ("fomo_face_detection", (0, 1))],
)  # fmt: skip
def test_what_is_guessed_of_public_models(name, pixels) -> None:
    assert load_network(MODELS / f"{name}.tflite").contract.pixels == pixels


def test_the_contract_travels_with_the_network(tmp_path: Path) -> None:
    network = with_pixels(small(scale=0.0078, zero=-1), (-1.0, 1.0))
    serialize.save(network, tmp_path / "n.npz")
    loaded = serialize.load(tmp_path / "n.npz")
    assert loaded.contract == network.contract
    assert InputContract.from_dict(json.loads(json.dumps(network.contract.to_dict()))) == network.contract


def test_files_of_older_versions_have_no_contract() -> None:
    content = serialize.to_bytes(small())
    old = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(old, "w") as written:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "network.npy":
                header = json.loads(np.load(io.BytesIO(data)).tobytes())
                del header["contract"]
                stream = io.BytesIO()
                np.save(stream, np.frombuffer(json.dumps(header).encode(), np.uint8))
                data = stream.getvalue()
            written.writestr(name, data)
    network = serialize.from_bytes(old.getvalue())
    assert network.declared is None and network.contract.shifts_only


def test_a_network_with_a_change_of_size_travels_too(tmp_path: Path) -> None:
    network = taking(small(), 12, 12)
    serialize.save(network, tmp_path / "n.npz")
    loaded = serialize.load(tmp_path / "n.npz")
    assert loaded.contract.shape == (12, 12, 3) == loaded.tensors[loaded.input].shape
    pictures = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    found, expected = (reference.run_batch(n, n.contract.values_of(pictures)) for n in (loaded, network))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_contradictions_are_refused() -> None:
    with pytest.raises(NetworkError, match="not what the network's input contract says"):
        replace(small(), declared=photos(9))
    for arguments in (
        (8, 8, 3, "rgb", 0.1, 0, None), (8, 8, 4, "rgb", 0.1, 0, (0.0, 1.0)), (8, 8, 3, "none", 0.1, 0, (0.0, 1.0)),
        (8, 8, 3, "rgb", 0.1, 0, (1.0, 1.0)), (8, 8, 3, "bgr", 0.1, 0, (0.0, 1.0)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"input|pixels"):
            InputContract(*arguments)
    with pytest.raises(UserError, match="one or three channels"):
        with_pixels(small(channels=4), (0.0, 1.0))
    with pytest.raises(UserError, match="other proportions"):
        taking(small(), 12, 16)
    with pytest.raises(UserError, match="no picture"):
        taking(with_pixels(small(), None), 12, 12)
    with pytest.raises(UserError, match=r"the prepared data are 12 x 12 x 3 rgb picture.*but"):
        for_prepared(small(scale=0.5, zero=0), photos(12))


def test_images_that_do_not_fit_are_refused() -> None:
    contract = photos(8)
    with pytest.raises(UserError, match=r"the photos have the shape \[2, 9, 8, 3\], the network takes \[N, 8, 8, 3\]"):
        contract.values_of(np.zeros((2, 9, 8, 3), np.uint8), "the photos")
    with pytest.raises(UserError, match="are float64: pixels are uint8"):
        contract.values_of(np.zeros((2, 8, 8, 3)))
    spectrum = guessed((49, 10, 1), 0.58, 83)
    with pytest.raises(UserError, match="the network's input is no picture"):
        spectrum.values_of(np.zeros((2, 49, 10, 1), np.uint8))
    ready = np.full((2, 49, 10, 1), -7, np.int8)
    assert np.array_equal(spectrum.values_of(ready), ready)


def test_what_the_option_says() -> None:
    assert parse_pixels("0..1") == (0, 1) and parse_pixels("-1..1") == (-1, 1) and parse_pixels("0..255") == (0, 255)
    assert parse_pixels("-2.118..2.64") == (-2.118, 2.64) and parse_pixels("none") is None
    for text in ("", "1", "1..0", "0..0", "a..b", "0...1", "0..1..2"):
        with pytest.raises(UserError, match=r"--pixels .*as in 0\.\.1"):
            parse_pixels(text)
