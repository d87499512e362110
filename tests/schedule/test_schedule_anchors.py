"""`patchline plan --json` against the figures of the literature and of the project (KiB of activations)."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from patchline.cli import app

NETWORKS = Path(__file__).parents[3] / "shared" / "networks"
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
    assert 0.09 <= data["extra_macs_ratio"] <= 0.105
    assert data["activation_peak_bytes"] <= 196 * 1024
    stage = max(data["op_peak_bytes"][: data["segments"][0]["end_op"]])
    assert stage == pytest.approx(158.5 * 1024, rel=0.001)


@pytest.mark.parametrize(
    ("network", "options", "cap", "kib"),
    [
        (MBV2, PUSHED, 0.0, 131), (MBV2, PUSHED, 0.03, 128), (MBV2, PULLED, 0.03, 72), (MBV2, PULLED, 0.10, 55),
        (W035, PUSHED, 0.0, 28.5), (W035, PUSHED, 0.03, 28), (W035, PULLED, 0.03, 19.5),
        (MCUNET, PUSHED, 0.0, 90), (MCUNET, PUSHED, 0.03, 70), (MCUNET, PULLED, 0.03, 70),
    ],
)  # fmt: skip
def test_streaming_needs_half_of_what_patches_need(network, options, cap, kib):
    data = plan(network, *options, "--max-extra-macs", str(cap))
    assert data["activation_peak_bytes"] <= kib * 1024
    assert data["extra_macs_ratio"] <= cap
    assert data["arena_bytes"] >= data["activation_peak_bytes"]
    assert data["front"] and data["segments"]
    if options == PUSHED:
        assert data["input_passes"] <= 1.0


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
    assert tight["extra_macs_ratio"] <= free["extra_macs_ratio"] + 0.03
    roomy = plan(MBV2, "--width", "0.35", "--resolution", "144", "--sram", "64KB", "--target", "stm32h743")
    assert roomy["fits"] and roomy["extra_macs_ratio"] == 0


def test_strict_exits_with_3_when_it_does_not_fit():
    result = CliRunner().invoke(app, ["plan", MBV2, "--sram", "20KB", "--strict", "--json"])
    assert result.exit_code == 3
    assert "more than the budget" in json.loads(result.stdout)["reason"]


def test_redistribution_cuts_the_overlap_of_patches_to_three_percent_at_equal_macs():
    data = plan(MBV2, *PATCH, "--redistribute")
    variant = data["redistributed"]
    assert variant["extra_macs_ratio"] <= 0.035 < 0.09 <= data["extra_macs_ratio"]
    assert variant["macs"] == pytest.approx(data["macs"], rel=0.03)
    assert variant["activation_peak_bytes"] <= data["activation_peak_bytes"]


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
