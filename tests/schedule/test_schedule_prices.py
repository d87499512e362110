"""What the solver says of an option is what its plan takes, to the byte, whatever branches and rejoins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network.builder import NetworkBuilder
from patchline.schedule import pareto_front, solve
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import make_segment, redundant_macs
from patchline.schedule.occupancy import Occupancies
from patchline.schedule.options import SegmentCosts
from patchline.schedule.solver import KINDS, overlaps_of, plan_of
from random_networks import branching_networks, networks

TARGET = targets.load("stm32f746")
KIND = st.sampled_from(["auto", "layer", "patch", "stream"])
MODE = st.sampled_from(["pushed", "pulled", "resident"])


@settings(max_examples=150, deadline=None)
@given(branching_networks() | networks(), KIND, MODE)
def test_every_option_costs_what_its_segment_takes(network, kind, mode):
    graph, overlap = Graph(network), overlaps_of(kind)
    occupancies = Occupancies(graph, mode, overlap)
    for o in SegmentCosts(graph, mode, overlap).all(KINDS[kind]):
        segment = make_segment(graph, o.kind, o.first, o.end, o.tile_rows, o.tile_cols, o.up)
        assert (o.peak, o.extra_macs) == (occupancies.peak(segment), redundant_macs(network, segment)), o


@settings(max_examples=120, deadline=None)
@given(branching_networks() | networks(), KIND, MODE)
def test_every_point_of_the_front_is_the_bound_of_its_plan(network, kind, mode):
    graph = Graph(network)
    front = pareto_front(network, kind, mode)
    for point in front[:4] + front[-1:]:
        plan = plan_of(point, graph, TARGET, kind, mode)
        assert point.extra_macs == plan.extra_macs
        assert point.arena_bytes <= plan.arena_lower_bound_bytes <= plan.arena_bytes
        if not any(segment.batches for segment in plan.segments):  # they may fill what the placement leaves free
            assert point.arena_bytes == plan.arena_lower_bound_bytes
    plan = solve(network, TARGET, kind=kind, input_mode=mode, max_extra_macs=1.0).plan
    assert plan.arena_lower_bound_bytes >= front[0].arena_bytes
    assert all(plan.arena_bytes <= plan_of(p, graph, TARGET, kind, mode).arena_bytes for p in front[:4])


def _fires(b: NetworkBuilder, x: str, count: int) -> str:
    """Blocks of two branches that both read the same map, as SqueezeNet's."""
    for i in range(count):
        b.block(f"fire{i}")
        x = b.conv(x, 8)
        x = b.concat(b.conv(x, 16), b.conv(x, 16, 3))
    return x


@pytest.mark.parametrize("mode", ["pushed", "pulled", "resident"])
def test_parallel_branches_are_not_priced_as_one_stream(mode):
    b = NetworkBuilder(40, 40, 3, seed=None)
    network = b.finish(b.conv(b.global_pool(_fires(b, b.conv("input", 16, 3, 2), 3)), 4))
    solution = solve(network, TARGET, input_mode=mode)
    point = next(p for p in solution.front if p.extra_macs == solution.plan.extra_macs)
    assert point.arena_bytes == solution.plan.arena_lower_bound_bytes
