"""Limits have one source, and a plan that does not fit says which option would help and what it would bring."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from patchline import targets
from patchline.cli import app
from patchline.config import SearchParams
from patchline.errors import UserError
from patchline.network import serialize
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import best_patch_plan, patch_plan, solve
from patchline.schedule.limits import Limits, executed_macs

TARGET = targets.load("stm32f412")
STAGES = Path(__file__).parents[2] / "stages"


def _blocks(count: int, size: int = 96) -> Network:
    """A chain whose first maps are large: strips save memory and compute columns twice."""
    b = NetworkBuilder(size, size, 3, seed=None, name="blocks")
    x = b.conv("input", 16, 3, 2)
    for i in range(count):
        b.block(f"block{i}")
        x = b.mbconv(x, 16 + 8 * (i // 5), 3, 2 if i in (6, 12) else 1, 3)
    return b.finish(b.conv(b.global_pool(x), 4, relu=False))


@pytest.fixture(scope="module")
def network() -> Network:
    return _blocks(20)


@pytest.fixture(scope="module")
def budget(network) -> int:
    """Kept by no schedule under the cap of 3 %, and by some above it."""
    least = solve(network, TARGET).plan.sram_peak_bytes
    assert solve(network, TARGET, max_extra_macs=1.0).plan.sram_peak_bytes < least - 2000
    return least - 2000


def test_limits_are_the_boards_where_nothing_smaller_is_set():
    params = SearchParams(sram_budget=2**30, flash_budget=None, max_macs=7_000_000, max_latency_ms=20.0)
    limits = Limits.of(params, TARGET)
    assert limits == Limits(TARGET.sram.size, TARGET.flash.size, 7_000_000, 20.0, params.max_extra_macs)
    assert Limits.on(TARGET, 1000, 2000) == Limits(1000, 2000)
    assert [limit.metric for limit in Limits.on(TARGET).each()] == ["sram_peak_bytes", "flash_bytes"]
    assert {limit.parameter for limit in limits.each()} <= set(SearchParams.model_fields)


def test_executed_macs_are_exact():
    for macs, extra in ((5_840_256, 1), (300_774_272, 8_549_888), (2**40 + 1, 12345)):
        assert executed_macs(macs, extra / macs) == macs + extra


def test_what_a_higher_cap_would_bring_is_true(network, budget):
    solution = solve(network, TARGET, sram_budget=budget)
    assert not solution.plan.fits
    cap, promised = re.search(
        r"`--max-extra-macs ([\d.]+)` fits: (\d+) bytes", solution.remedy("--max-extra-macs")
    ).groups()
    again = solve(network, TARGET, sram_budget=budget, max_extra_macs=float(cap)).plan
    assert again.fits and again.sram_peak_bytes == int(promised)
    least = re.search(r"the least is (\d+) bytes of SRAM at ([\d.]+)%", solution.remedy("--max-extra-macs"))
    freely = solve(network, TARGET, max_extra_macs=1.0).plan
    if least:
        assert int(least[1]) == freely.sram_peak_bytes
        assert float(least[2]) == pytest.approx(100 * freely.extra_macs_ratio, abs=0.05)
    assert solve(network, TARGET, sram_budget=budget, max_extra_macs=1.0).remedy("x") == ""


def test_what_even_no_cap_would_bring_is_said(network):
    solution = solve(network, TARGET, sram_budget=4000)
    least = solve(network, TARGET, max_extra_macs=1.0).plan
    assert f"without the cap on redundant MACs (OPTION) the least is {least.sram_peak_bytes} bytes" in solution.remedy(
        "OPTION"
    )
    assert solution.why_not("OPTION") == f"{solution.plan.reason}; {solution.remedy('OPTION')}"


def test_plan_and_compile_name_the_option(network, budget, tmp_path):
    serialize.save(network, tmp_path / "net.npz")
    compiled = CliRunner().invoke(
        app,
        [
            "compile",
            str(tmp_path / "net.npz"),
            "--target",
            "stm32f412",
            "-o",
            str(tmp_path / "o"),
            "--sram",
            str(budget),
        ],
    )
    assert (
        compiled.exit_code == 3 and "--max-extra-macs 0." in compiled.stderr and "bytes of SRAM at" in compiled.stderr
    )
    options = [
        "plan",
        "mobilenet_v2",
        "--width",
        "0.35",
        "--resolution",
        "96",
        "--sram",
        "9500",
        "--target",
        "stm32h743",
    ]
    planned = CliRunner().invoke(app, [*options, "--json"])
    assert "--max-extra-macs" in json.loads(planned.stdout)["remedy"]
    assert "what would help" in CliRunner().invoke(app, options).stdout


def test_stage_generate_names_the_parameter(network, budget, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    serialize.save(network, Path("models/stm32f412/network.npz"))
    Path("params.yaml").write_text(f"targets: [stm32f412]\nsearch: {{sram_budget: {budget}, max_extra_macs: 0.03}}\n")
    spec = importlib.util.spec_from_file_location("generate_stage", STAGES / "generate.py")
    stage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage)
    with pytest.raises(UserError, match=r"`search\.max_extra_macs: 0\.\d+` fits: \d+ bytes of SRAM at"):
        stage.main("stm32f412")
    assert not Path("build").exists()


def test_a_peer_is_shown_at_its_best():
    """No grid and no patch stage of whole blocks needs less than the plan that stands for MCUNetV2."""
    network = _blocks(8, 64)
    best = best_patch_plan(network, TARGET)
    assert best.extra_macs_ratio > 0.1  # more than any cap of ours
    for grid in range(2, 9):
        for blocks in range(1, 9):
            try:
                other = patch_plan(network, TARGET, grid, blocks)
            except ValueError:
                continue
            assert best.arena_lower_bound_bytes <= other.arena_lower_bound_bytes
            if other.arena_lower_bound_bytes == best.arena_lower_bound_bytes:
                assert best.extra_macs <= other.extra_macs
