"""Generated firmware on the bench: planned sizes, right outputs, and a wrong byte found where it was put."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import shutil
import threading
import tty
from pathlib import Path

import numpy as np
import pytest

from patchline import build, codegen, targets
from patchline.build import elf
from patchline.cli import main as cli_main
from patchline.errors import UserError
from patchline.hil import bench, cases, qemu
from patchline.hil.outcome import RunError
from patchline.hil.unicorn_board import UnicornBoard
from patchline.network import reference, serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import solve

needs_gcc = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")
pytestmark = needs_gcc


def small_network() -> Network:
    b = NetworkBuilder(16, 16, 3, seed=3, name="small")
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 3, 1, 3)
    x = b.mbconv(x, 16, 3, 2, 3)
    x = b.global_pool(x)
    return b.finish(b.conv(x, 4, relu=False))


NETWORK = small_network()


def make(folder: Path, board: str, mode: str = "pulled") -> Path:
    target = targets.load(board)
    plan = solve(NETWORK, target, input_mode=mode).plan  # type: ignore[arg-type]
    codegen.generate(NETWORK, plan, target, folder)
    serialize.save(NETWORK, folder / "network.npz")
    build.compile_folder(folder)
    return folder


@pytest.fixture(scope="module")
def f412(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("f412") / "firmware", "stm32f412")


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(1).integers(-128, 128, (6, 16, 16, 3), dtype=np.int8)


def test_outputs_sizes_and_counts(f412, inputs) -> None:
    case = cases.load_case(f412, "stm32f412")
    expected = reference.run_batch(NETWORK, inputs)[NETWORK.outputs[0]].reshape(6, -1)
    labels = expected.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 4
    result = bench.run(case, inputs, labels, emulator="unicorn", workers=2)
    assert np.array_equal(result.outputs, expected)
    assert (result.bit_exact_outputs, result.accuracy_device) == (1.0, pytest.approx(5 / 6))
    assert result.accuracy_constant == np.bincount(labels).max() / 6
    assert result.metrics()["accuracy_constant"] == result.accuracy_constant
    assert np.sum(result.confusion_device) == 6
    assert case.plan is not None
    assert result.sizes.sram == case.plan.sram_peak_bytes
    assert result.sizes.arena == case.plan.arena_bytes
    assert 0 < result.stack_bytes < result.sizes.stack
    assert [row.op for row in result.per_op] == [*(op.name for op in NETWORK.ops), "runtime"]
    assert sum(row.instructions for row in result.per_op) == pytest.approx(result.instructions, abs=len(result.per_op))
    assert sum(row.cycles_est for row in result.per_op) == pytest.approx(result.cycles_est, abs=len(result.per_op))
    assert result.instructions < result.cycles_est < 4 * result.instructions
    assert result.latency_ms_est == pytest.approx(result.cycles_est / 100_000)
    json.dumps(result.metrics())


@pytest.mark.skipif(bool(qemu.unavailable_because()), reason=qemu.unavailable_because() or "QEMU is there")
@pytest.mark.parametrize(("board", "mode"), [("mps2-an386", "pulled"), ("mps2-an500", "resident")])
def test_auto_asks_a_second_emulator(tmp_path, inputs, board, mode) -> None:
    case = cases.load_case(make(tmp_path / "firmware", board, mode), board)
    result = bench.run(case, inputs, workers=1)  # raises where outputs differ, or instructions by more than 0.1 %
    assert (result.checked_by, result.bit_exact_outputs) == ("unicorn+qemu", 1.0)


def test_a_real_board_is_measured_over_its_serial_port(f412, inputs) -> None:
    """An emulated board behind a pseudo terminal stands for the real one; recording, so that its counter runs."""
    board = UnicornBoard(elf.load(f412 / "firmware.elf"), targets.load("stm32f412"))
    board.read(0)  # booted long ago
    master, slave = pty.openpty()
    tty.setraw(slave)

    def device() -> None:
        with board.record():
            while data := os.read(master, 4096):
                board.write(data)
                os.write(master, board.read(0))

    threading.Thread(target=device, daemon=True).start()
    case = cases.load_case(f412, "stm32f412")
    result = bench.run(case, inputs[:2], workers=1, emulator=f"serial:{os.ttyname(slave)}", traced_images=1)
    assert result.checked_by == f"unicorn+serial:{os.ttyname(slave)}"
    assert result.cycles_device == pytest.approx(result.instructions, rel=0.02)  # this counter counts instructions
    assert result.metrics()["latency_ms_device"] == pytest.approx(result.cycles_device / 100_000, rel=0.01)


def test_a_wrong_weight_is_found_in_its_operator(f412, inputs) -> None:
    case = cases.load_case(f412, "stm32f412")
    index, op = next((i, op) for i, op in enumerate(NETWORK.ops) if type(op).__name__ == "Depthwise")
    weights = op.weights.copy()  # type: ignore[attr-defined]
    weights[1, 1, 0] = weights[1, 1, 0] ^ 0x40
    wrong = dataclasses.replace(op, weights=weights)  # type: ignore[type-var]
    ops = tuple(wrong if i == index else other for i, other in enumerate(NETWORK.ops))
    changed = dataclasses.replace(case, network=dataclasses.replace(NETWORK, ops=ops))
    with pytest.raises(RunError, match="it begins there") as caught:
        bench.run(changed, inputs, emulator="unicorn")
    error = caught.value
    assert (error.kind, error.op) == ("mismatch", index)
    assert f"op {index} '{op.name}'" in str(error)
    arena = elf.load(f412 / "firmware.elf").symbols["pl_arena"]
    assert error.address is not None and arena.address <= error.address < arena.address + arena.size


def test_images_of_the_wrong_shape(f412) -> None:
    case = cases.load_case(f412, "stm32f412")
    with pytest.raises(UserError, match=r"the images have shape \(8, 8, 3\)"):
        bench.run(case, np.zeros((2, 8, 8, 3), np.int8))


def test_images_and_labels_of_another_task(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    default = tmp_path / "data" / "prepared" / "test.npz"
    default.parent.mkdir(parents=True)

    def load(shape: tuple[int, ...], labels: list[int]):
        np.savez(default, images=np.zeros((2, *shape), np.uint8), labels=np.array(labels))
        return cases.load_images(None, NETWORK, None)

    images, labels, source = load((16, 16, 3), [0, 3])
    assert images.shape == (2, 16, 16, 3)
    assert (labels is not None, source) == (True, "data/prepared/test.npz")
    images, labels, source = load((16, 16, 3), [0, 4])  # the network has four outputs
    assert images.shape == (2, 16, 16, 3)
    assert labels is None
    assert "labels left out" in source
    for shape in ((16, 16, 1), (32, 32, 3)):  # nothing is resized here: the device would have to do it
        images, labels, source = load(shape, [0, 3])
        assert images.shape == (10, 16, 16, 3)
        assert labels is None
        assert source.startswith("a random generator (data/prepared/test.npz does not fit")
    with pytest.raises(UserError, match=r"`images` is uint8 \[2, 8, 8\]; it must be"):
        load((8, 8), [0, 3])


def test_fewer_images_hold_the_classes_in_their_proportion(tmp_path) -> None:
    """Labels sorted as folders are read: the first ten are of one class."""
    pixels = np.arange(80, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3)
    np.savez(tmp_path / "test.npz", images=pixels, labels=np.repeat([0, 3], (60, 20)))
    images, labels, _ = cases.load_images(tmp_path / "test.npz", NETWORK, 8)
    assert labels is not None
    assert np.bincount(labels).tolist() == [6, 0, 0, 2]
    assert np.array_equal(labels == 3, images[:, 0, 0, 0] >= 60 - 128)
    np.savez(tmp_path / "test.npz", images=pixels)
    assert len(cases.load_images(tmp_path / "test.npz", NETWORK, 8)[0]) == 8


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize(
    "labels", [[0, 3], [[0], [1], [2], [3]], 3, [0.0, 1, 2, 3], ["a", "b", "c", "d"]], ids=lambda x: str(np.shape(x))
)
def test_labels_that_are_not_one_whole_number_an_image_are_refused(tmp_path, labels, count) -> None:
    np.savez(tmp_path / "test.npz", images=np.zeros((4, 16, 16, 3), np.uint8), labels=np.array(labels))
    with pytest.raises(UserError, match=r"`labels` is .* for 4 images; it must be"):
        cases.load_images(tmp_path / "test.npz", NETWORK, count)


def test_the_command(f412, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "images.npz", images=np.zeros((3, 16, 16, 3), np.uint8), labels=np.zeros(3, np.int64))
    arguments = ["bench", str(f412), "--emulator", "unicorn", "--images", "images.npz"]  # the plan names the board
    monkeypatch.setattr("sys.argv", ["patchline", *arguments, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli_main()
    assert not ended.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "stm32f412"
    assert (found["images"], found["bit_exact_outputs"], len(found["per_op"])) == (3, 1.0, len(NETWORK.ops) + 1)
    assert found["accuracy_constant"] == 1.0
    monkeypatch.setattr("sys.argv", ["patchline", *arguments])
    with pytest.raises(SystemExit):
        cli_main()
    assert "one and the same answer: 1.0000" in (shown := capsys.readouterr().out)
    assert "warning: an accuracy of" in shown
    monkeypatch.setattr("sys.argv", ["patchline", *arguments[:2], "--target", "stm32l4r5"])
    with pytest.raises(SystemExit) as ended:
        cli_main()
    assert ended.value.code == 2
    assert "was made for stm32f412" in capsys.readouterr().err


def test_the_board_that_the_plan_names(f412, tmp_path) -> None:
    assert cases.load_case(f412).target.name == "stm32f412"
    shutil.copy(f412 / "firmware.elf", tmp_path)
    with pytest.raises(UserError, match="name the board with --target"):
        cases.load_case(tmp_path)
    plan = (f412 / "plan.json").read_text()
    assert '"stm32f412"' in plan
    (tmp_path / "plan.json").write_text(plan.replace('"stm32f412"', '"our-board"'))
    with pytest.raises(UserError, match="is for the board our-board: name the board's file"):
        cases.load_case(tmp_path)
