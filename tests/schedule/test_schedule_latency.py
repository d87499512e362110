"""The prediction of cycles: what it counts, and that its figures belong to the cycle model in use."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchline import targets
from patchline.cores.armv7em.kernels import KernelChoice, Strip
from patchline.errors import UserError
from patchline.hil import cycles
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Window
from patchline.network.zoo import mobilenet_v2
from patchline.schedule import kernel_work, latency, solve
from patchline.schedule.geometry import Graph
from patchline.schedule.kernel_work import Call, Calls
from patchline.schedule.memory import make_segment

CORES = {"cortex-m4": "stm32f412", "cortex-m7": "stm32f746"}


@pytest.mark.parametrize("core", CORES)
def test_the_figures_belong_to_the_cycle_model(core: str) -> None:
    """Estimates of another version do not compare: `make bench-kernels STORE=1` measures afresh."""
    assert latency.figures_version()[core] == cycles.version(targets.load(CORES[core]))


@pytest.mark.parametrize("core", CORES)
def test_every_figure_has_the_terms_that_it_is_multiplied_with(core: str) -> None:
    figures = latency.figures(core)
    calls = Calls((Call(Strip(9, 2, 10), 2, 2), Call(Strip(7, 1, 8), 3, 6)), 3, 2, True)
    for name, rules in figures["kernels"].items():
        for rule, weights in rules.items():
            kernel = KernelChoice(name, rule, 8, 16, 4, 100)
            assert len(weights["cycles"]) == len(kernel_work.work(kernel, calls)), name
            assert len(weights["lines"]) == len(
                latency.flash_lines(kernel, calls, 100, targets.load(CORES[core]).timing)
            )
            assert min(weights["cycles"] + weights["lines"]) >= 0
    assert min(figures[latency.RUNTIME]) >= 0 < sum(figures[latency.RUNTIME])


@given(
    st.integers(1, 30), st.integers(1, 7), st.integers(1, 3), st.integers(0, 3), st.integers(0, 20), st.integers(1, 20)
)
def test_rows_and_columns_of_the_window_inside_the_map(
    size: int, kernel: int, stride: int, pad: int, low: int, count: int
) -> None:
    window = Window(kernel, stride, min(pad, kernel - 1))
    inside = {y: len([i for i in range(kernel) if 0 <= window.first(y) + i < size]) for y in range(low, low + count)}
    assume(all(inside.values()))  # as every output of a network has
    found = dict(kernel_work._rows_inside(((low, low + count),), window, size))
    assert found == {rows: list(inside.values()).count(rows) for rows in inside.values()}
    strip = kernel_work._strip(low, low + count, window, size)
    assert strip.columns == count
    assert strip.edge == len([rows for rows in inside.values() if rows < kernel])
    read = {x for y in inside for x in range(window.first(y), window.first(y) + kernel) if 0 <= x < size}
    assert strip.read == (max(read) + 1 - min(read) if read else 0)


def test_strips_call_more_often_on_fewer_columns() -> None:
    b = NetworkBuilder(16, 16, 3)
    b.conv(b.depthwise(b.conv("input", 8), 3), 4)
    network = b.finish()
    graph = Graph(network)
    whole, halves = (kernel_work.calls_of(network, make_segment(graph, "stream", 0, 3, 1, n)) for n in (1, 2))
    assert whole[0] == Calls((Call(Strip(16, 0, 16), 1, 16),), 1, 1, True)
    strip = Strip(16, 2, 16)
    assert whole[1] == Calls((Call(strip, 3, 14), Call(strip, 2, 2)), 3, 1, True)
    strip = Strip(9, 0, 9)
    assert halves[0] == Calls((Call(strip, 1, 16), Call(strip, 1, 16)), 1, 2, True)
    strip = Strip(8, 1, 9)
    assert halves[1] == Calls((*(Call(strip, 3, 14), Call(strip, 2, 2)) * 2,), 3, 2, True)
    target = targets.load("stm32f412")
    cycles = [latency.predicted_cycles(network, [make_segment(graph, "stream", 0, 3, 1, n)], target) for n in (1, 2, 4)]
    assert cycles == sorted(cycles)


def test_rows_at_once_are_fewer_calls_on_more_columns() -> None:
    b = NetworkBuilder(5, 6, 4)
    b.conv(b.conv("input", 8), 4)
    network = b.finish()
    segment = make_segment(Graph(network), "layer", 0, 2)
    batched = replace(segment, rows_at_once=(1, 2))
    called = kernel_work.calls_of(network, batched)
    assert called[1].each == (Call(Strip(12, 0, 12), 1, 2), Call(Strip(6, 0, 6), 1, 1))
    assert (called[1].count, called[1].border) == (3, 0)
    for name in CORES.values():
        target = targets.load(name)
        assert latency.predicted_cycles(network, [batched], target) < latency.predicted_cycles(
            network, [segment], target
        )


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
        latency._row_cycles("cortex-m4", KernelChoice("fft", "single", 8, 8, 4, 0), Strip(8, 0, 8), 1, 1)
