"""The firmware's command loop on this machine, with sanitizers, under right, damaged and random input.

FUZZ_INPUTS and FUZZ_SEED in the environment ask for more than the quick run: `make fuzz`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from patchline import codegen, targets
from patchline.build import host
from patchline.codegen.generate import golden_vectors
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import layer_plan

INPUTS = int(os.environ.get("FUZZ_INPUTS", "100000"))  # half of them with each kind of input
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MODES = ("pulled", "resident")


def small_network() -> Network:
    b = NetworkBuilder(6, 7, 3, seed=4, name="small")
    x = b.mbconv(b.conv("input", 8, 3, 2), 8, 3, 1, 2)
    return b.finish(b.conv(b.global_pool(x), 4, relu=False))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Generated folders, one for each kind of input."""
    root, network, target = tmp_path_factory.mktemp("fuzz"), small_network(), targets.load("stm32f412")
    golden = golden_vectors(network, 2)
    return {
        mode: codegen.generate(network, layer_plan(network, target, mode), None, root / mode, golden) for mode in MODES
    }


def build(folder: Path) -> Path:
    return host.build(folder, sanitize=True, shared=folder.parent / "shared", program="fuzz")


def fuzz(program: Path, inputs: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, str(SEED), str(inputs)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", MODES)
def test_every_input_is_answered_as_documented(folders, mode):
    result = fuzz(build(folders[mode]), INPUTS // 2)
    assert result.returncode == 0, result.stderr
    words = result.stdout.splitlines()[-1].split()
    counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    assert counts["inputs"] == INPUTS // 2
    assert counts["accepted"] > INPUTS // 2 and counts["refused"] > INPUTS // 2  # both sides of the rules are reached
    assert counts["inferences"] > INPUTS // 100
    assert (counts["rows"] > INPUTS // 10) == (mode == "pulled")


@pytest.mark.parametrize(
    "mode, right, wrong",
    [
        ("pulled", "if (digits / 2u < room)", "if (room || 1)"),  # a row longer than its place
        ("resident", "forget_input();", ""),  # the self-test's image taken for the one that was loaded
        ("pulled", '"m-ready"', '"m-done"'),
    ],
)
def test_what_breaks_the_device_is_found(folders, mode, right, wrong):
    found = 0
    changed = {}
    for source in (folders[mode] / "board" / "common").glob("*.c"):
        text = source.read_text()
        if right in text:
            changed[source] = text
            source.write_text(text.replace(right, wrong))
            found += 1
    assert found == 1
    try:
        result = fuzz(build(folders[mode]), 20_000)
    finally:
        for source, text in changed.items():
            source.write_text(text)
    assert result.returncode != 0 and f"seed {SEED}, input " in result.stderr
