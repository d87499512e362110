"""A firmware as it is built: its sizes are the planned ones to the byte, and errors are the compiler's own words."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from patchline import build, codegen, targets
from patchline.build import elf
from patchline.errors import UserError
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import Plan, solve

BOARD = targets.load("stm32f412")

pytestmark = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")


def network() -> Network:
    b = NetworkBuilder(16, 16, 3, seed=3, name="small")
    x = b.mbconv(b.conv("input", 8, 3, 2), 8, 3, 1, 3)
    return b.finish(b.conv(b.global_pool(x), 4, relu=False))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return solve(network(), BOARD).plan


@pytest.fixture(scope="module")
def built(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = codegen.generate(network(), plan, BOARD, tmp_path_factory.mktemp("built") / "firmware")
    build.compile_folder(folder)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy of the built folder, to spoil."""
    return shutil.copytree(built, tmp_path / "firmware")


def test_planned_and_linked_sizes_must_be_equal_to_the_byte(built: Path, plan: Plan) -> None:
    firmware = elf.load(built / "firmware.elf")
    assert build.check_sizes(firmware, plan).sram == plan.sram_peak_bytes
    with pytest.raises(
        build.SizeError, match=f"the arena is {plan.arena_bytes} bytes, planned {plan.arena_bytes + 1}"
    ) as caught:
        build.check_sizes(firmware, replace(plan, arena_bytes=plan.arena_bytes + 1))
    assert caught.value.exit_code == 1
    with pytest.raises(build.SizeError, match=r"static memory .*SRAM in total is"):
        build.check_sizes(firmware, replace(plan, sram=replace(plan.sram, static=plan.sram.static - 1)))


def test_more_bytes_in_the_firmware_are_found(folder: Path, plan: Plan) -> None:
    script = folder / "generated" / "board.ld"
    text = script.read_text().replace("*(.arena)", "*(.arena) . += 4;")
    script.write_text("\n".join(line for line in text.splitlines() if "arena does not have" not in line))
    build.compile_folder(folder)
    with pytest.raises(build.SizeError, match=f"planned {plan.sram_peak_bytes}"):
        build.check_sizes(elf.load(folder / "firmware.elf"), plan)


def test_code_that_does_not_compile_is_the_compilers_own_message(folder: Path, tmp_path: Path) -> None:
    next((folder / "generated").glob("*.c")).write_text("int broken(void) { return nothing; }\n")
    with pytest.raises(UserError, match="'nothing' undeclared"):
        build.compile_folder(folder)
    with pytest.raises(UserError, match="not a generated firmware folder"):
        build.compile_folder(tmp_path)


def test_the_firmware_does_not_depend_on_where_it_is_built(built: Path, plan: Plan, tmp_path: Path) -> None:
    elsewhere = build.compile_folder(codegen.generate(network(), plan, BOARD, tmp_path / "there $(touch PWNED)"))
    assert elsewhere.read_bytes() == (built / "firmware.elf").read_bytes()
