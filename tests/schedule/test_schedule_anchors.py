"""`patchline plan --json` against the figures of the literature and of the project (KiB of activations)."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from patchline import targets
from patchline.cli import app

NETWORKS = Path(__file__).parents[3] / "shared" / "networks"
README = Path(__file__).parents[2] / "README.md"
MBV2, W035, MCUNET = "mobilenet_v2", "mbv2-w0.35-r144_imagenet.json", "mcunet-320kb-1mb_imagenet.json"
PULLED, PUSHED = ["--input", "pulled"], ["--input", "pushed"]
PATCH = ["--kind", "patch", "--grid", "4x4", "--blocks", "5"]


def plan(network: str, *options: str) -> dict:
    if network.endswith(".json"):
        if not (NETWORKS / network).exists():
            pytest.skip(f"{network} is not on this machine (shared/networks)")
        network = str(NETWORKS / network)
    result = CliRunner().invoke(app, ["plan", network, *options, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(("network", "kib"), [(MBV2, 1372.0), (W035, 283.5), (MCUNET, 242.0)])
def test_layer_by_layer_is_what_the_literature_counts(network, kib):
    data = plan(network, "--kind", "layer")
    assert data["activation_peak_bytes"] == kib * 1024
    assert data["extra_macs_ratio"] == 0


def test_mcunetv2s_patches_on_mobilenet_v2():
    data = plan(MBV2, *PATCH)
    assert (data["activation_peak_bytes"], data["arena_bytes"]) == (181_888, 183_424)
    assert data["extra_macs_ratio"] == pytest.approx(0.0928, abs=5e-5)
    stage = max(data["op_peak_bytes"][: data["segments"][0]["end_op"]])
    assert stage == pytest.approx(158.5 * 1024, rel=0.001)


@pytest.mark.parametrize(
    ("network", "options", "cap", "activations", "arena", "extra"),
    [
        (MBV2, PUSHED, 0.0, 125_664, 126_432, 0.0), (MBV2, PUSHED, 0.03, 125_664, 126_432, 0.0),
        (MBV2, PULLED, 0.03, 66_461, 67_616, 0.0284), (MBV2, PULLED, 0.10, 52_787, 53_940, 0.0980),
        (W035, PUSHED, 0.0, 27_216, 27_600, 0.0), (W035, PUSHED, 0.03, 27_216, 27_600, 0.0),
        (W035, PULLED, 0.03, 17_568, 17_952, 0.0120),
        (MCUNET, PUSHED, 0.0, 59_840, 60_480, 0.0), (MCUNET, PUSHED, 0.03, 59_840, 60_480, 0.0),
        (MCUNET, PULLED, 0.03, 59_840, 60_480, 0.0),
    ],
)  # fmt: skip
def test_streaming_needs_half_of_what_patches_need(network, options, cap, activations, arena, extra):
    data = plan(network, *options, "--max-extra-macs", str(cap))
    assert (data["activation_peak_bytes"], data["arena_bytes"]) == (activations, arena)
    assert data["extra_macs_ratio"] == pytest.approx(extra, abs=5e-5)
    assert data["front"] and data["segments"]
    if options == PUSHED:
        assert data["input_passes"] == 1.0


COLUMNS = (["--kind", "layer"], ["--kind", "patch", "--max-extra-macs", "1"], PUSHED, ["--max-extra-macs", "0.03"])


@pytest.mark.parametrize(
    ("title", "options"), [("1.0 @224", []), ("0.35 @144", ["--width", "0.35", "--resolution", "144"])]
)
def test_the_readme_shows_what_the_commands_give(title, options):
    """`| MobileNetV2 1.0 @224 | 1372.0 | 177.6 (+9.3 % MACs) | ...`: KiB of activations, MACs computed twice."""
    line = next(x for x in README.read_text().splitlines() if x.startswith(f"| MobileNetV2 {title} |"))
    shown = [re.sub(r"[*()+%]|MACs", " ", cell).split() for cell in line.split("|")[2:-1]]
    for cell, column in zip(shown, COLUMNS, strict=True):
        data = plan(MBV2, *options, *column)
        assert f"{data['activation_peak_bytes'] / 1024:.1f}" == cell[0]
        if len(cell) > 1:
            digits = len(cell[1].partition(".")[2])
            assert f"{100 * data['extra_macs_ratio']:.{digits}f}" == cell[1]


def test_sram_total_is_the_sum_of_its_parts():
    data = plan(MBV2, "--width", "0.5", "--resolution", "96")
    sram = data["sram"]
    parts = sram["activations"] + sram["scratch_and_padding"] + sram["static"] + sram["stack"]
    assert data["sram_peak_bytes"] == sram["total"] == parts
    assert data["sram_peak_bytes"] == data["arena_bytes"] + sram["static"] + sram["stack"]


def test_a_budget_is_met_with_the_fewest_macs():
    free = plan(MBV2, "--width", "0.35", "--resolution", "144")
    tight = plan(MBV2, "--width", "0.35", "--resolution", "144", "--sram", "21KB")
    assert tight["sram_peak_bytes"] <= 21 * 1024
    assert tight["extra_macs_ratio"] <= free["extra_macs_ratio"] <= 0.03
    roomy = plan(MBV2, "--width", "0.35", "--resolution", "144", "--sram", "64KB", "--target", "stm32h743")
    assert roomy["fits"] and roomy["extra_macs_ratio"] == 0


def test_strict_exits_with_3_when_it_does_not_fit():
    result = CliRunner().invoke(app, ["plan", MBV2, "--sram", "20KB", "--strict", "--json"])
    assert result.exit_code == 3
    assert "more than the budget" in json.loads(result.stdout)["reason"]


def test_redistribution_cuts_the_overlap_of_patches_to_three_percent_at_equal_macs():
    data = plan(MBV2, *PATCH, "--redistribute")
    variant = data["redistributed"]
    assert variant["extra_macs_ratio"] == pytest.approx(0.0287, abs=5e-5)
    assert variant["macs"] / data["macs"] == pytest.approx(0.979, abs=5e-4)
    assert variant["activation_peak_bytes"] == data["activation_peak_bytes"] == 181_888


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "not known"),
        ([MBV2, "--target", "stm32f747"], "stm32f746"),
        ([MBV2, "--grid", "4x3", "--blocks", "5"], "square"),
        ([MBV2, "--grid", "4x4"], "--blocks"),
        ([MBV2, "--sram", "lots"], "64KB"),
        ([MBV2, *PATCH, "--input", "pushed"], "more than once"),
        (["missing.json"], "missing.json"),
    ],
)
def test_wrong_input_is_one_clear_message(arguments, words):
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr and "Traceback" not in result.output


def test_a_board_may_be_named_by_its_file(tmp_path):
    board = tmp_path / "mine.yaml"
    board.write_text((Path(targets.__file__).parent / "stm32f412.yaml").read_text().replace("256KB", "64KB"))
    data = plan(MBV2, "--width", "0.35", "--resolution", "96", "--target", str(board))
    assert data["target"] == "mine"
    result = CliRunner().invoke(app, ["plan", MBV2, "--target", str(tmp_path / "missing.yaml")])
    assert result.exit_code == 2 and "does not exist" in result.stderr


def test_json_descriptions_are_checked(tmp_path):
    for text in ("{", "[]", '{"resolution": 32}', '{"resolution": -1, "first_conv": {}}', "\x00\xff"):
        path = tmp_path / "net.json"
        path.write_text(text)
        result = CliRunner().invoke(app, ["plan", str(path)])
        assert result.exit_code == 2 and "net.json" in result.stderr


def test_the_picture_is_written(tmp_path):
    path = tmp_path / "memory.svg"
    result = CliRunner().invoke(app, ["plan", MBV2, "--width", "0.35", "--resolution", "96", "--plot", str(path)])
    assert result.exit_code == 0 and path.read_text().startswith("<svg")
