"""Emulators by name: Patchline's own, and one that an installed package adds, from its registration to a benchmark."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from patchline import build, codegen, doctor, plugins, targets
from patchline.config import load_params
from patchline.deploy.config import DeployConfig
from patchline.errors import UserError
from patchline.hil import bench, cases, emulators, sessions
from patchline.hil.isolate import call
from patchline.hil.qemu import QemuBoard
from patchline.hil.renode import RenodeBoard
from patchline.hil.sessions import Inference, Setup, StackUse
from patchline.network import reference as network_reference
from patchline.network import serialize
from patchline.network.builder import NetworkBuilder
from patchline.schedule import solve

STM32, MPS2 = targets.load("stm32f412"), targets.load("mps2-an386")

SPIKE = '''
from patchline.hil.unicorn_board import UnicornBoard


class Spike:
    """Unicorn under another name."""

    independent = True
    auto_images = 3

    def unavailable_because(self, target):
        return "" if target.core == "cortex-m4" else f"spike has no {target.core}"

    def open(self, elf, target):
        return UnicornBoard(elf, target)

    def instructions(self, link, target, ticks):
        return None if ticks() == 0 else 1  # not recording, the board's counter stands still


EMULATOR = Spike()
'''


def install(folder: Path, package: str, name: str, code: str) -> None:
    """A package in `folder`, as pip leaves it there: a module, and metadata with an emulator as entry point."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {module}:EMULATOR\n")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python finds packages in; processes of the bench inherit it."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def spike(packages: Path) -> None:
    install(packages, "patchline-spike", "spike", SPIKE)


def test_patchlines_own_need_no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their modules exist and keep the protocol, also where the installation's metadata are old or absent."""
    monkeypatch.setattr(plugins, "entry_points", lambda **_: ())
    assert plugins.emulator_names() == ("renode", "qemu", "unicorn")
    for name in plugins.emulator_names():
        emulator = emulators.find(name)
        assert emulator.independent == (name != "unicorn") and emulator.auto_images >= 0
        assert isinstance(emulators.unavailable_because(name, STM32), str)


def test_one_that_cannot_run_the_board_says_why() -> None:
    with pytest.raises(UserError, match="qemu cannot run stm32f412: qemu does not have the memory map"):
        emulators.check_choice("qemu", STM32)
    for name in ("spice", "serial:", "", "trace"):
        with pytest.raises(UserError, match=r"choose one of auto, renode, qemu, unicorn(, \w+)* or serial:/dev/ttyX"):
            emulators.check_choice(name, STM32)
    emulators.check_choice("serial:/dev/ttyACM0", STM32)


def test_who_runs_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"renode", "unicorn"}
    monkeypatch.setattr(
        emulators, "unavailable_because", lambda name, target: "" if name in here & {*target.emulators} else "no"
    )
    alone = emulators.find("renode").auto_images
    assert alone == 20
    assert emulators.main_and_checker("auto", STM32, alone) == ("renode", None)
    assert emulators.main_and_checker("auto", STM32, alone + 1) == ("unicorn", "renode")
    assert emulators.main_and_checker("auto", MPS2, 1) == ("unicorn", None)
    assert emulators.main_and_checker("unicorn", STM32, 1) == ("unicorn", None)
    here |= {"qemu"}
    assert emulators.main_and_checker("auto", MPS2, 1) == ("unicorn", "qemu")


@pytest.mark.parametrize(("logged", "expected"), [(90, 90), (None, 160)])
def test_renodes_own_count_goes_before_the_firmwares(monkeypatch, logged, expected) -> None:
    monkeypatch.setattr(RenodeBoard, "instructions", lambda _: logged)
    link = object.__new__(RenodeBoard)  # not started
    assert emulators.find("renode").instructions(link, STM32, lambda: 160) == expected


def test_ticks_of_qemus_timer_are_instructions() -> None:
    link = object.__new__(QemuBoard)
    assert emulators.find("qemu").instructions(link, MPS2, lambda: 160) == 100  # 1.6 ticks each


@pytest.mark.usefixtures("spike")
def test_an_added_emulator_is_accepted_wherever_one_is_named(tmp_path: Path) -> None:
    assert plugins.emulator_choices() == ("auto", "renode", "qemu", "unicorn", "spike")
    (tmp_path / "params.yaml").write_text("benchmark: {emulator: spike}\n")
    assert load_params(tmp_path / "params.yaml").benchmark.emulator == "spike"
    board = (targets.FOLDER / "stm32l4r5.yaml").read_text().replace("[unicorn]", "[spike, unicorn]")
    (tmp_path / "board.yaml").write_text(board)
    assert targets.load_file(tmp_path / "board.yaml").emulators == ("spike", "unicorn")
    assert DeployConfig().updated({"emulator": "spike"}).emulator == "spike"
    check = next(check for check in doctor.examine() if check.name == "emulators")
    assert check.found == "renode, qemu, unicorn, spike"
    emulators.check_choice("spike", STM32)
    with pytest.raises(UserError, match="spike cannot run stm32f746: spike has no cortex-m7"):
        emulators.check_choice("spike", targets.load("stm32f746"))


@pytest.mark.parametrize("value", ["spice", "3", "null", "[auto]"])
def test_an_unknown_name_gets_the_list(tmp_path: Path, value: str) -> None:
    (tmp_path / "params.yaml").write_text(f"benchmark: {{emulator: {value}}}\n")
    with pytest.raises(UserError, match=r"benchmark.emulator: .* not allowed; allowed: one of auto, renode, qemu, uni"):
        load_params(tmp_path / "params.yaml")
    board = (targets.FOLDER / "stm32l4r5.yaml").read_text().replace("[unicorn]", f"[unicorn, {value}]")
    (tmp_path / "board.yaml").write_text(board)
    with pytest.raises(UserError, match=r"emulators\.1: "):
        targets.load_file(tmp_path / "board.yaml")


def test_a_board_file_with_an_unknown_name_gets_the_list(tmp_path: Path) -> None:
    board = (targets.FOLDER / "stm32l4r5.yaml").read_text().replace("[unicorn]", "[spice]")
    (tmp_path / "board.yaml").write_text(board)
    with pytest.raises(UserError, match=r"emulators\.0: .*there are renode, qemu, unicorn.* \(value 'spice'\)"):
        targets.load_file(tmp_path / "board.yaml")


def test_an_added_emulator_that_cannot_be_imported_is_named_with_its_package(packages: Path) -> None:
    install(packages, "patchline-bad", "bad", "import nothing_of_this_name\n")
    with pytest.raises(UserError, match=r"'bad' of the package patchline-bad 1.2 cannot be loaded \(ModuleNotFound"):
        emulators.check_choice("bad", STM32)
    check = next(check for check in doctor.examine() if check.name == "emulators")
    assert check.found is None and "patchline-bad 1.2" in check.remedy
    assert check not in doctor.missing([check])


def test_a_name_belongs_to_one_package(packages: Path) -> None:
    install(packages, "patchline-one", "spike", SPIKE)
    install(packages, "patchline-two", "spike", SPIKE)
    install(packages, "patchline-three", "unicorn", "EMULATOR = None\n")
    with pytest.raises(UserError, match=r"several packages: patchline-one 1.2, patchline-two 1.2"):
        emulators.find("spike")
    assert plugins.emulator_names() == ("renode", "qemu", "unicorn", "spike")
    assert emulators.find("unicorn") is not None  # Patchline's own


@pytest.mark.usefixtures("spike")
def test_the_tiny_firmware_runs_on_an_added_emulator(tiny, images, reference) -> None:
    setup = Setup(tiny("stm32f412").path, "stm32f412")
    *ran, end = call(sessions.over_link, setup, "spike", [0, 1], images[:2], timeout_s=60)
    assert isinstance(end, StackUse)
    for inference, image in zip(ran, images[:2], strict=True):
        assert isinstance(inference, Inference) and inference.instructions is None
        assert np.array_equal(inference.outputs, reference(image))


@pytest.mark.usefixtures("spike")
@pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")
def test_a_benchmark_on_an_added_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    b = NetworkBuilder(8, 8, 3, seed=4, name="tiny")
    network = b.finish(b.conv(b.global_pool(b.conv("input", 4, 3, 2)), 3, relu=False))
    folder = codegen.generate(network, solve(network, STM32).plan, STM32, tmp_path / "out")
    build.compile_folder(folder)
    serialize.save(network, folder / "network.npz")
    case = cases.load_case(folder)
    images = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 3), dtype=np.int8)
    expected = network_reference.run_batch(network, images)[network.outputs[0]].reshape(4, -1)

    named = bench.run(case, images, emulator="spike", traced_images=1, workers=2)
    assert (named.emulator, named.checked_by) == ("spike", "unicorn+spike")
    assert np.array_equal(named.outputs, expected)

    monkeypatch.setattr(targets, "load", lambda _: dataclasses.replace(STM32, emulators=("unicorn",)))
    case = dataclasses.replace(case, target=targets.load("stm32f412"))  # neither Renode nor QEMU can run it
    for count, emulator in ((4, "unicorn"), (3, "spike")):
        auto = bench.run(case, images[:count], traced_images=1, workers=1)
        assert (auto.emulator, auto.checked_by) == (emulator, "unicorn+spike")
