"""The prediction of cycles: what it counts, and that its figures belong to the cycle model in use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchline import targets
from patchline.errors import UserError
from patchline.hil import cycles
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Window
from patchline.network.zoo import mobilenet_v2
from patchline.schedule import latency, solve
from patchline.schedule.geometry import Graph
from patchline.schedule.latency import Calls, Kernel
from patchline.schedule.memory import make_segment

CORES = {"cortex-m4": "stm32f412", "cortex-m7": "stm32f746"}


@pytest.mark.parametrize("core", CORES)
def test_the_figures_belong_to_the_cycle_model(core: str) -> None:
    """Estimates of another version do not compare: `make bench-kernels STORE=1` measures afresh."""
    assert latency.figures_version()[core] == cycles.version(targets.load(CORES[core]))


@pytest.mark.parametrize("core", CORES)
def test_every_figure_has_the_terms_that_it_is_multiplied_with(core: str) -> None:
    figures = latency.figures(core)
    calls = Calls(8, 2, ((9, 2), (7, 1)), 2, True)
    for name, rules in figures["kernels"].items():
        for rule, weights in rules.items():
            kernel = Kernel(name, rule, 8, 16, 4, 100)
            assert len(weights["cycles"]) == len(latency.work(kernel, calls)), name
            assert len(weights["lines"]) == len(
                latency.flash_lines(kernel, calls, 100, targets.load(CORES[core]).timing)
            )
            assert min(weights["cycles"] + weights["lines"]) >= 0
    assert min(figures[latency.RUNTIME]) >= 0 < sum(figures[latency.RUNTIME])


@given(
    st.integers(1, 30), st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(0, 20), st.integers(0, 20)
)
def test_positions_whose_window_leaves_the_map(
    size: int, kernel: int, stride: int, pad: int, low: int, count: int
) -> None:
    window = Window(kernel, stride, pad)
    outside = [x for x in range(low, low + count) if window.first(x) < 0 or window.first(x) + window.kernel > size]
    assert latency._outside(low, low + count, window, size) == (len(outside) if kernel > 1 else 0)


def test_strips_call_more_often_on_fewer_columns() -> None:
    b = NetworkBuilder(16, 16, 3)
    b.conv(b.depthwise(b.conv("input", 8), 3), 4)
    network = b.finish()
    graph = Graph(network)
    whole, halves = (latency.calls_of(network, make_segment(graph, "stream", 0, 3, 1, n)) for n in (1, 2))
    assert whole[0] == Calls(16, 0, ((16, 0),), 1, True)
    assert whole[1] == Calls(16, 2, ((16, 2),), 1, True)
    assert halves[0] == Calls(16, 0, ((9, 0), (9, 0)), 2, True)
    assert halves[1] == Calls(16, 2, ((8, 1), (8, 1)), 2, True)
    target = targets.load("stm32f412")
    cycles = [latency.predicted_cycles(network, [make_segment(graph, "stream", 0, 3, 1, n)], target) for n in (1, 2, 4)]
    assert cycles == sorted(cycles)


def test_flash_that_waits_costs_cycles() -> None:
    network = mobilenet_v2(0.35, 48, seed=None)
    plan = solve(network, targets.load("mps2-an386")).plan
    without, slow, slower = (
        latency.predicted_cycles(network, plan.segments, targets.load(name))
        for name in ("mps2-an386", "stm32f412", "stm32l4r5")
    )
    assert without < slow and without < slower


def test_missing_figures_are_a_clear_error() -> None:
    with pytest.raises(UserError, match=r"no figures for cortex-m99.*bench-kernels"):
        latency.figures("cortex-m99")
    with pytest.raises(UserError, match="no figures for kernel 'fft'"):
        latency._row_cycles("cortex-m4", Kernel("fft", "single", 8, 8, 4, 0), 8, 0, 0)
