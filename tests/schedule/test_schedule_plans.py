"""Every plan the solver can make is safe, and its figures are what its buffers say."""

from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.network.builder import NetworkBuilder
from patchline.schedule import layer_plan, pareto_front, patch_plan, plan_from_dict, solve
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import aligned, make_segment
from patchline.schedule.solver import plan_of
from random_networks import networks
from walk_plan import walk

TARGET = targets.load("stm32f746")


def check(network, plan) -> None:
    walk(Graph(network), plan)
    assert plan.arena_bytes >= plan.arena_lower_bound_bytes >= plan.activation_peak_bytes
    assert plan.arena_bytes == max(b.offset + aligned(b.bytes) for b in plan.buffers)
    assert plan.sram.total == plan.arena_bytes + plan.sram.static + plan.sram.stack
    assert plan_from_dict(__import__("json").loads(plan.to_json())) == plan


@settings(max_examples=120, deadline=None)
@given(
    networks(), st.sampled_from(["auto", "layer", "patch", "stream"]), st.sampled_from(["pushed", "pulled", "resident"])
)
def test_every_plan_of_the_front_reads_only_what_was_written(network, kind, mode):
    front = pareto_front(network, kind, mode)
    assert front, "the solver always answers"
    for point in front[:3] + front[-1:]:
        plan = plan_of(point, Graph(network), TARGET, kind, mode)
        check(network, plan)
        assert plan.extra_macs == point.extra_macs


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(2, 5), st.integers(1, 3))
def test_patches_and_layers_are_safe(network, grid, blocks):
    check(network, layer_plan(network, TARGET))
    try:
        plan = patch_plan(network, TARGET, grid, blocks)
    except ValueError:
        return  # fewer blocks, or maps smaller than the grid
    check(network, plan)


@settings(max_examples=30, deadline=None)
@given(networks())
def test_pushed_input_arrives_once(network):
    plan = solve(network, TARGET, input_mode="pushed", max_extra_macs=1.0).plan
    assert plan.segments[0].tile_cols == plan.segments[0].tile_rows == 1
    assert plan.input_passes <= 1.0


def test_uneven_strips_are_cut_where_they_need_less():
    """5 columns of a 7x7 convolution of stride 2 over 10: as 2 + 3 they read 6 and 9 columns, as 3 + 2 but 8 and 7."""
    b = NetworkBuilder(10, 10, 4)
    b.conv(b.depthwise(b.conv("input", 24), 7, stride=2), 4)
    network = b.finish()
    down, up = (make_segment(Graph(network), "stream", 0, 3, 1, 2, up) for up in (False, True))
    read = [{r.tensor: r.cols for r in s.ranges}[network.ops[0].output] for s in (down, up)]
    assert read == [((0, 6), (1, 10)), ((0, 8), (3, 10))]
    assert any(point.options[0].up for point in pareto_front(network, "stream", "pulled"))
