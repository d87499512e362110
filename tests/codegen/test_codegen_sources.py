"""The generated folder as a whole: sizes that must agree with the compiler's, static analysis, clear errors."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from patchline import build, codegen, targets
from patchline.build import elf, host
from patchline.codegen.operators import lower
from patchline.errors import UserError
from patchline.network import reference
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network, Op
from patchline.schedule import layer_plan, load_plan, solve
from patchline.supernet.architecture import build_network
from patchline.supernet.space import SMALL

TARGET = targets.load("stm32f412")

needs_compiler = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc not installed")


def small_network() -> Network:
    b = NetworkBuilder(12, 12, 3, seed=2, name="small */ network")
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 5, 1, 2)
    return b.finish(b.conv(b.global_pool(x), 3, relu=False))


@needs_compiler
@pytest.mark.parametrize("board", ["stm32f412", "stm32f746"])
@pytest.mark.parametrize("arch", [SMALL.smallest(2), SMALL.largest(2)], ids=["smallest", "largest"])
def test_flash_is_about_what_the_plan_says(tmp_path, board, arch):
    """The search decides by this estimate whether a candidate fits the flash."""
    network, target = build_network(arch), targets.load(board)
    plan = layer_plan(network, target)
    linked = elf.load(build.compile_folder(codegen.generate(network, plan, target, tmp_path / "out")))
    assert plan.flash.total == pytest.approx(linked.flash_bytes, rel=0.05), plan.flash
    build.check_sizes(linked, plan)


@needs_compiler
def test_one_planned_byte_more_or_less_fails_the_link(tmp_path):
    network = small_network()
    plan = layer_plan(network, TARGET)
    too_small = replace(plan, sram=replace(plan.sram, static=plan.sram.static - 16))
    with pytest.raises(UserError, match="more static memory than the target reserves"):
        build.compile_folder(codegen.generate(network, too_small, TARGET, tmp_path / "out"))


def test_the_same_plan_gives_the_same_bytes(tmp_path):
    network = small_network()
    plan = solve(network, TARGET).plan
    for name in ("a", "b"):
        codegen.generate(network, plan, TARGET, tmp_path / name)
    for path in sorted((tmp_path / "a").rglob("*.[ch]")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_static_analysis_finds_nothing(tmp_path):
    if shutil.which("cppcheck") is None:
        pytest.skip("cppcheck is not installed: apt-get install cppcheck")
    network = small_network()
    out = codegen.generate(network, solve(network, TARGET).plan, TARGET, tmp_path / "out")
    command = ["cppcheck", "--quiet", "--error-exitcode=1", "--enable=warning,performance,portability", "--std=c11"]
    command += ["-Iinclude", "-Igenerated", "-Iboard", "-Isrc/kernels", "src", "generated", "board", "host"]
    result = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_trace_names_the_first_wrong_row(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    network = small_network()
    program = host.build(codegen.generate(network, layer_plan(network, TARGET), None, tmp_path / "out"))
    image = np.zeros((12, 12, 3), np.int8)
    assert host.compare(program, network, image) is None
    conv = network.ops[1]
    other = replace(network, ops=(network.ops[0], replace(conv, bias=conv.bias + 5000), *network.ops[2:]))
    found = host.compare(program, other, image)
    assert found is not None and (found.op, found.y) == (1, 0)
    assert conv.name in str(found)


def test_what_the_firmware_cannot_hold_is_a_clear_error():
    network = small_network()
    conv = network.ops[0]
    huge = replace(network, ops=(replace(conv, bias=conv.bias + np.int32(2**31 - 2**17)), *network.ops[1:]))
    with pytest.raises(UserError, match="out of 32 bits"):
        lower(huge, huge.ops[0])
    with pytest.raises(UserError, match="has no kernel"):
        lower(network, Op("odd", ("input",), conv.output))


@pytest.mark.parametrize("mode", ["pushed", "pulled", "resident"])
def test_the_example_program_compiles_without_a_warning_and_computes_what_the_reference_does(tmp_path, mode):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    network = small_network()
    out = codegen.generate(
        network, solve(network, TARGET, input_mode=mode).plan, TARGET, tmp_path / "out", prefix="eyes"
    )
    subprocess.run(["make", "-s", "-C", str(out), "example"], check=True, capture_output=True)
    result = subprocess.run([str(out / "build" / "example")], check=True, capture_output=True, text=True)
    expected = reference.run_batch(network, np.zeros((1, 12, 12, 3), np.int8))[network.outputs[0]]
    assert [int(line) for line in result.stdout.split()] == expected.reshape(-1).tolist()
    assert (
        "eyes_model" in (out / "example" / "main.c").read_text()
        and "eyes.h" not in (out / "src" / "executor.c").read_text()
    )
    assert str(plan_bytes(out)) in (out / "README.md").read_text()


def plan_bytes(folder):
    return load_plan(folder / "plan.json").arena_bytes
