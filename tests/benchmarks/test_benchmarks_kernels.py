"""The kernel benchmark: its networks, its comparison, and the check itself on two networks."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import kernel_figures
import kernel_report
import kernels
from kernel_figures import QUICK_CASES, Figure
from kernel_networks import NETWORKS, with_tflite_rule
from patchline import build
from patchline.errors import UserError
from patchline.network.importers import load_network
from patchline.network.ir import Conv, Depthwise, Network

SHARED = Path(__file__).parents[2].parent / "shared" / "models"
FILES = {"vww_96": "vww_96_int8.tflite", "mcunet-vww1": "mcunet-vww1.tflite"}
FIGURE = Figure("net, layer", "M4", "single", 100, 2, 1000, 1500, 50)


def _convolutions(network: Network) -> list[tuple[object, ...]]:
    return [
        (type(op).__name__, op.weights.shape, op.stride, op.pad, network.tensors[op.output].shape)
        for op in network.ops
        if isinstance(op, Conv | Depthwise)
    ]


@pytest.mark.parametrize("benchmark", NETWORKS, ids=lambda b: b.name)
def test_networks_are_those_of_the_model_files(benchmark) -> None:
    network = benchmark.build()
    assert network.macs == benchmark.macs
    assert with_tflite_rule(network).macs == benchmark.macs
    model = SHARED / FILES[benchmark.name]
    if not model.exists():
        pytest.skip(f"{model.name} is not here to compare with")
    assert _convolutions(network) == _convolutions(load_network(model))


@pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")
@pytest.mark.parametrize("case", QUICK_CASES, ids=lambda c: f"{c.subject}, {c.rule}")
def test_no_network_takes_more_instructions_than_stored(case) -> None:
    """As `python benchmarks/kernels.py --check`; the message says how to store new figures on purpose."""
    figure, _ = kernel_figures.measure_case(case)
    kernels.check([figure], kernel_figures.load().networks)


def test_more_than_two_percent_is_named() -> None:
    kernels.check([replace(FIGURE, instructions=1020)], [FIGURE])
    with pytest.raises(
        UserError, match=r"net, layer on the M4, rule single: 1,021 .* \(\+2.1%\)[\s\S]*STORE=1"
    ) as error:
        kernels.check([replace(FIGURE, instructions=1021)], [FIGURE])
    assert error.value.exit_code == 1
    with pytest.raises(UserError, match="no stored figure"):
        kernels.check([replace(FIGURE, core="M7")], [FIGURE])


def test_figures_survive_the_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(kernel_figures, "FILE", tmp_path / "kernels.json")
    with pytest.raises(UserError, match="STORE=1"):
        kernel_figures.load()
    both = (FIGURE, replace(FIGURE, core="M7", cycles=900))
    shapes = tuple(replace(figure, subject="add C 8, 6x3", macs=0) for figure in both)
    kernel_figures.store(both, shapes[:0], shapes)
    stored = kernel_figures.load()
    assert (stored.networks, stored.shapes) == (both, shapes)
    assert kernel_report.per_unit(shapes[0], shapes[0].cycles) == 750


def test_the_document_shows_the_stored_figures() -> None:
    before = kernel_report.DOCUMENT.read_text()
    assert kernel_report.markdown(kernel_figures.load()) == before, "run `python benchmarks/kernels.py --markdown`"
