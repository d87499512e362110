"""Published networks on emulated boards: a streamed plan costs hardly an instruction more and a tenth of the memory."""

from pathlib import Path

import pytest

from patchline import targets
from patchline.network import zoo
from streaming_on_device import Row, measure

NETWORKS = Path(__file__).parents[3] / "shared" / "networks"


def check(row: Row) -> None:
    assert row.result.bit_exact_outputs == 1.0
    assert row.result.sizes.sram == row.plan.sram_peak_bytes <= row.sram_allowance


@pytest.mark.slow
def test_mobilenet_v2_streams_at_the_layers_speed():
    network = zoo.mobilenet_v2(0.35, 144)
    layer, auto = (measure(network, targets.load("stm32l4r5"), kind, 0.03, 1) for kind in ("layer", "auto"))
    check(layer)
    check(auto)
    assert auto.plan.extra_macs_ratio <= 0.03
    assert auto.result.instructions <= 1.10 * layer.result.instructions
    assert auto.plan.activation_peak_bytes * 10 < layer.plan.activation_peak_bytes


@pytest.mark.slow
def test_mcunet_fits_its_board():
    path = NETWORKS / "mcunet-320kb-1mb_imagenet.json"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine (shared/networks)")
    check(measure(zoo.from_json(path), targets.load("stm32f746"), "auto", 0.03, 1))
