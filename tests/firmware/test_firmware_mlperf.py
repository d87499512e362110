"""Firmware driven as MLPerf Tiny's official runner does it: its commands, its chunks, what it reads from the answers.

The runner knows nothing of Patchline: it sends a file's bytes as they are (photographs as uint8, features of keyword
spotting as int8) and compares the largest of the results with the file's label.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchline import targets
from patchline.network import reference
from patchline.network.builder import NetworkBuilder
from patchline.network.importers import load_network
from patchline.network.ir import Network
from patchline.network.resize import with_pixels
from patchline.schedule import layer_plan, solve

TARGET = targets.load("stm32f412")
MODELS = Path(__file__).parents[3] / "shared" / "models"
CHUNK = {"accuracy": 31, "energy": 26}  # bytes of one `db`


class Runner:
    """The runner's side of the line."""

    def __init__(self, board) -> None:
        self.core = board.core
        self.pending = ""

    def send(self, command: str) -> list[str]:
        """One command, and the lines up to and with that which holds m-ready."""
        self.core.write(command.encode() + b"%")
        lines: list[str] = []
        while not lines or "m-ready" not in lines[-1]:
            while "\n" not in self.pending:
                data = self.core.read(30.0)
                assert data, f"no response to {command[:40]}"
                self.pending += data.decode()
            line, self.pending = self.pending.split("\n", 1)
            lines += [line.strip()] if line.strip() else []
        return lines

    def identify(self) -> tuple[str, str]:
        """Vendor and model: the model's name chooses the script."""
        (name,) = [m[1] for line in self.send("name") if (m := re.match(r"^m-name-dut-\[([^]]+)]$", line))]
        profile = (re.match(r"^m-(model|profile)-\[([^]]+)]$", line) for line in self.send("profile"))
        found = dict(match.groups() for match in profile if match)
        return name, found["model"]

    def load(self, data: bytes, chunk: int) -> None:
        self.send(f"db load {len(data)}")
        for start in range(0, len(data), chunk):
            self.send(f"db {data[start : start + chunk].hex()}")

    def infer(self, count: int, warmups: int) -> tuple[list[float], int]:
        """Results, and the microseconds between the two timestamps."""
        lines = self.send(f"infer {count} {warmups}")
        (results,) = [m[1] for line in lines if (m := re.match(r"^m-results-\[([^]]+)\]$", line))]
        start, end = (int(m[1]) for line in lines if (m := re.match(r"^m-lap-us-([0-9]+)$", line)))
        return [float(value) for value in results.split(",")], end - start


def network_for(shape: tuple[int, int, int], name: str, scale: float = 1 / 255, zero: int = -128) -> Network:
    b = NetworkBuilder(*shape, seed=3, name=name)
    network = b.finish(b.conv(b.global_pool(b.depthwise(b.conv("input", 8, 3, 2), 3)), 4, relu=False))
    source = replace(network.tensors["input"], scale=scale, zero_point=zero)
    return replace(network, tensors={**network.tensors, "input": source})


def scores(network: Network, values: np.ndarray) -> np.ndarray:
    output = network.tensors[network.outputs[0]]
    (found,) = reference.run_batch(network, values[None]).values()
    return (found.reshape(-1).astype(int) - output.zero_point) * output.scale


def drive(runner: Runner, network: Network, data: bytes, values: np.ndarray) -> None:
    expected = scores(network, values)
    for mode, chunk in CHUNK.items():
        runner.load(data, chunk)
        results, microseconds = runner.infer(2, 1) if mode == "energy" else runner.infer(1, 0)
        assert np.allclose(results, expected, atol=2e-3), (results, expected)
        assert microseconds >= 0  # the emulator's clock stands still


@pytest.mark.parametrize(
    ("scale", "zero", "pixels"),
    [(1 / 255, -128, (0, 1)), (0.0078393, 0, (-1, 1)), (1.0, -128, (0, 255)), (0.0103, -90, (0, 1))],
)
def test_photographs_are_sent_as_pixels(make_firmware, scale, zero, pixels):
    network = with_pixels(network_for((10, 12, 3), "vww01", scale, zero), pixels)
    runner = Runner(make_firmware(network, layer_plan(network, TARGET, "resident")))
    assert runner.identify() == ("Patchline", "vww01")
    picture = np.random.default_rng(2).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    picture[0, :2] = [[0, 255, 128], [127, 1, 254]]
    drive(runner, network, picture.tobytes(), network.contract.values_of(picture[None])[0])


def test_features_are_sent_as_int8(make_firmware):
    """Taking them for pixels, as firmware did before, flips every sign: the runner then scores chance."""
    network = network_for((13, 10, 1), "kws01", 0.5847, 83)
    assert network.contract.colour == "none"
    board = make_firmware(network, layer_plan(network, TARGET, "resident"))
    runner = Runner(board)
    assert runner.identify() == ("Patchline", "kws01")
    values = np.random.default_rng(2).integers(-128, 128, (13, 10, 1), dtype=np.int8)
    drive(runner, network, values.tobytes(), values)
    assert board.lines("db print")[0] == "m-buffer-" + values.tobytes()[:8].hex("-")


def test_what_was_sent_is_printed(make_firmware):
    network = with_pixels(network_for((4, 5, 3), "vww01", 0.0078393, 0), (-1.0, 1.0))
    board = make_firmware(network, layer_plan(network, TARGET, "resident"))
    picture = np.arange(60, dtype=np.uint8) * 4
    Runner(board).load(picture.tobytes(), 31)
    lines = [line.removeprefix("m-buffer-").replace("-", "") for line in board.lines("db print")]
    printed = bytes.fromhex("".join(lines))
    assert np.array_equal(network.contract.table[list(printed)], network.contract.table[picture])


def test_an_inference_after_a_refused_image_is_an_error(make_firmware):
    network = network_for((6, 7, 3), "vww01")
    runner = Runner(make_firmware(network, layer_plan(network, TARGET, "resident")))
    picture = bytes(126)
    runner.load(picture, 31)
    assert any("m-results" in line for line in runner.send("infer 1 0"))
    runner.load(bytes(200), 31)  # a file of another task: every one of its commands is refused
    for _ in range(2):
        assert runner.send("infer 1 0") == ["e-[The input was refused: load it again]", "m-ready"]
    runner.load(picture, 31)
    assert any("m-results" in line for line in runner.send("infer 1 0"))


def test_a_firmware_that_asks_for_rows_tells_the_runner(make_firmware):
    network = network_for((6, 7, 3), "vww01")
    runner = Runner(make_firmware(network, layer_plan(network, TARGET)))
    assert "--input resident" in runner.send("db load 126")[0]
    assert "--input resident" in runner.send("infer 1 0")[0]  # not a request for a row, which the runner cannot answer


@pytest.mark.slow
@pytest.mark.skipif(not MODELS.is_dir(), reason="no public models beside the checkout")
@pytest.mark.parametrize(
    ("file", "name", "board"),
    [("vww_96_int8", "vww01", "stm32f746"), ("mlperf_ic_resnet8", "ic01", "stm32f746"),
     ("mlperf_kws", "kws01", "stm32f412"), ("mlperf_ad", "ad01", "stm32h743")],
)  # fmt: skip
def test_the_benchmarks_own_models(make_firmware, file, name, board):
    network = replace(load_network(MODELS / f"{file}.tflite"), name=name)
    plan = solve(network, targets.load(board), input_mode="resident").plan
    runner = Runner(make_firmware(network, plan))
    assert runner.identify()[1] == name
    picture = network.contract.pixels is not None
    assert picture == (name in ("vww01", "ic01"))
    kind = np.uint8 if picture else np.int8
    data = np.random.default_rng(1).integers(np.iinfo(kind).min, 1 + np.iinfo(kind).max, network.contract.shape, kind)
    drive(runner, network, data.tobytes(), network.contract.values_of(data[None])[0])
