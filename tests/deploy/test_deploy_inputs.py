"""Everything of the plug-in that needs no firmware: configuration, input images, and errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from patchline import deploy
from patchline.deploy.config import DeployConfig
from patchline.deploy.errors import DeploymentError
from patchline.deploy.images import read_images
from patchline.network.contract import photos

CONTRACT = photos(16)
SHAPE = CONTRACT.shape


def test_config_reads_the_texts_that_the_command_line_gives() -> None:
    given = {"emulator": "unicorn", "rebuild": "True", "sram_budget": "48KB", "max_extra_macs": "0.2"}
    config = DeployConfig().updated({**given, "self_test_images": "5"})
    assert config == DeployConfig("unicorn", True, "auto", "pulled", 48 * 1024, 0.2, 5)
    assert DeployConfig(**config.to_dict()) == config
    assert DeployConfig().updated({"sram_budget": "5000"}).sram_budget == 5000
    assert DeployConfig().updated(None) == DeployConfig()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("emulater", "unicorn", r"unknown key 'emulater'; did you mean 'emulator'\?"),
        ("emulator", "spice", "emulator = 'spice' is not allowed; allowed: one of auto, renode"),
        ("rebuild", "maybe", "allowed: true or false"),
        ("sram_budget", "lots", "text such as 48KB"),
        ("sram_budget", "0", "text such as 48KB"),
        ("max_extra_macs", "-1", "a share from 0 to 1"),
        ("self_test_images", "1.5", "a whole number from 1 to 1000"),
    ],
)
def test_config_names_what_is_wrong(key: str, value: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        DeployConfig().updated({key: value})


def test_images_come_in_several_forms(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "b.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    forms: list[Any] = [
        pixels, {"path": paths}, paths, pd.DataFrame({"path": paths}), pd.DataFrame({"image": pixels.tolist()}),
        pixels.tolist(),
    ]  # fmt: skip
    for form in forms:
        np.testing.assert_array_equal(read_images(form, CONTRACT), pixels)
    np.testing.assert_array_equal(read_images(pixels[0], CONTRACT), pixels[:1])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (pd.DataFrame({"x": [1]}), r"got columns \['x'\]"),
        (None, "a column 'path' with picture files"),
        (["/nowhere/a.png"], "/nowhere/a.png does not exist"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"shape \(8, 8, 3\), the model takes \(16, 16, 3\)"),
        (np.full((1, *SHAPE), 0.5), "whole numbers from 0 to 255"),
        (np.full((1, *SHAPE), 300), "whole numbers from 0 to 255"),
        ([np.zeros(SHAPE).tolist(), np.zeros((8, 8, 3)).tolist()], "different shapes"),
    ],
)
def test_bad_images_say_what_is_taken(inputs: Any, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        read_images(inputs, CONTRACT)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> deploy.PatchlineDeployments:
    monkeypatch.chdir(tmp_path)
    return deploy.PatchlineDeployments("patchline:/stm32f412")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("patchline:/stm32f413", r"target 'stm32f413' is not known; did you mean 'stm32f412'\?"),
        ("patchline:/", "must be patchline:/<board>"),
        ("patchline", "must be patchline:/<board>"),
    ],
)
def test_a_bad_target_is_named(uri: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        deploy.PatchlineDeployments(uri)


def test_errors_are_one_line(client: deploy.PatchlineDeployments) -> None:
    calls: list[tuple[Any, str]] = [
        (lambda: client.create_deployment("../evil", "models:/m/1"), "must be letters"),
        (lambda: client.create_deployment("a", "models:/m/1", flavor="sklearn"), "flavor 'sklearn'"),
        (lambda: client.create_deployment("a", "/nowhere/model"), "cannot be fetched"),
        (lambda: client.create_deployment("a", "models:/m/1", config={"x": "1"}), "unknown key 'x'"),
        (lambda: client.create_deployment("a", "models:/m/1", endpoint="e"), "no endpoints"),
        (lambda: client.get_deployment("a"), "no deployment 'a' on stm32f412; existing: none"),
        (lambda: client.update_deployment("a"), "no deployment 'a'"),
        (lambda: client.predict("a", ["x.png"]), "no deployment 'a'"),
    ]
    for call, message in calls:
        with pytest.raises(DeploymentError, match=message) as caught:
            call()
        assert "\n" not in caught.value.message
    client.delete_deployment("a")  # what does not exist is deleted already
    assert client.list_deployments() == []


def test_help_lists_boards_and_options() -> None:
    text = deploy.target_help()
    assert "stm32f746" in text
    assert all(f"-C {key}=" in text for key in DeployConfig().to_dict())
