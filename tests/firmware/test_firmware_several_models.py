"""Several networks in one program, without the benchmark firmware around them."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from patchline import targets
from patchline.build import elf
from patchline.codegen import generate
from patchline.codegen.generate import golden_vectors
from patchline.errors import UserError
from patchline.hil import qemu
from patchline.hil.unicorn_board import UnicornBoard
from patchline.network.builder import NetworkBuilder
from patchline.schedule import solve

TARGET = targets.load("mps2-an386")
SOURCE = Path(__file__).parent / "two_models.c"

LINKER = f"""
MEMORY {{ FLASH (rx) : ORIGIN = {TARGET.flash.origin}, LENGTH = {TARGET.flash.size}
         SRAM (rwx) : ORIGIN = {TARGET.sram.origin}, LENGTH = {TARGET.sram.size} }}
ENTRY(start)
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*) }} > FLASH
  .stack (NOLOAD) : {{ . += 2048; stack_top = .; }} > SRAM
  .bss (NOLOAD) : {{ bss_start = .; *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; }} > SRAM
}}
"""


def _first():
    b = NetworkBuilder(12, 12, 3, seed=4, name="first")
    x = b.mbconv(b.conv("input", 8, 3, 2), 8, 3, 1, 2)
    return b.finish(b.conv(b.global_pool(b.mbconv(x, 16, 5, 2, 3)), 4, relu=False))


def _second():
    b = NetworkBuilder(17, 9, 1, seed=5, name="second")
    x = b.conv(b.depthwise(b.conv("input", 6, 3, 2), 3), 10)
    return b.finish(b.conv(x, 3, 3, 2, relu=False))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The ELF, and the lines that it must print."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    folder = tmp_path_factory.mktemp("two")
    golden = {}
    for network in (_first(), _second()):
        golden[network.name] = golden_vectors(network, 2)
        generate(network, solve(network, TARGET).plan, TARGET, folder / network.name, golden[network.name])
    (folder / "program.ld").write_text(LINKER)
    runtime = folder / "first"
    sources = [*(runtime / "src").rglob("*.[cS]"), runtime / "board" / "common" / "memory.c", SOURCE]
    sources += [folder / name / "generated" / f"{name}.c" for name in golden]
    flags = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 -ffreestanding -nostdlib -DPL_DUAL_ISSUE=0"
    flags += " -Wall -Wextra -Werror"
    includes = [f"-I{runtime / part}" for part in ("include", "src/kernels", "generated")]
    includes.append(f"-I{folder / 'second' / 'generated'}")
    output = folder / "two.elf"
    subprocess.run(
        ["arm-none-eabi-gcc", *flags.split(), *includes, "-T", folder / "program.ld", *sources, "-lgcc", "-o", output],
        check=True,
    )
    expected = [golden[name][i][1][0] for i in (0, 1) for name in ("first", "second")]
    return elf.load(output), [output.tobytes().hex() for output in expected]


def _lines(board, count):
    text, end = b"", time.monotonic() + 60
    while text.count(b"\n") < count and time.monotonic() < end:
        text += board.read(1.0)
    return text.decode().split()


def test_two_models_in_one_program_are_bit_exact_on_qemu(program):
    if reason := qemu.unavailable_because():
        pytest.skip(reason)
    binary, expected = program
    board = qemu.QemuBoard(binary, TARGET)
    try:
        assert _lines(board, 4) == expected
    finally:
        board.close()


def test_two_models_in_one_program_are_bit_exact_on_unicorn(program):
    binary, expected = program
    board = UnicornBoard(binary, TARGET)
    assert _lines(board, 4) == expected


@pytest.mark.parametrize("prefix", ["", "1st", "Upper", "a-b", "int", "pl", "model_config", "a" * 41, "x;y", "x\n"])
def test_a_prefix_that_is_no_name_of_its_own_is_refused(prefix, tmp_path):
    network = _second()
    with pytest.raises(UserError, match="prefix"):
        generate(network, solve(network, TARGET).plan, TARGET, tmp_path / "out", prefix=prefix)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("mcunet-vww1", "mcunet_vww1"),
        ("2 eyes", "net_2_eyes"),
        ("static", "net_static"),
        ("Ünï/../x", "n_x"),
        ("", "net"),
    ],
)
def test_names_in_c_follow_from_the_networks_name(name, prefix, tmp_path):
    b = NetworkBuilder(4, 4, 1, seed=1, name=name)
    network = b.finish(b.conv("input", 2, 3))
    out = generate(network, solve(network, TARGET).plan, None, tmp_path / "out")
    assert f"extern const pl_model {prefix}_model;" in (out / "generated" / f"{prefix}.h").read_text()


def test_a_model_that_reads_more_rows_than_the_runtime_was_compiled_for_does_not_compile(tmp_path):
    b = NetworkBuilder(12, 12, 1, seed=1, name="tall")
    network = b.finish(b.conv("input", 2, 7))
    out = generate(network, solve(network, TARGET).plan, None, tmp_path / "out")
    command = ["gcc", "-fsyntax-only", "-DPL_MAX_ROWS=6", f"-I{out / 'include'}", str(out / "generated" / "tall.c")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0 and "-DPL_MAX_ROWS=7" in result.stderr
