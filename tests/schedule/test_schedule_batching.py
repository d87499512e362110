"""Several rows of a narrow map in one call: fewer blocks of pixels, not a byte more."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchline import targets
from patchline.cores.armv7em.kernels import pixel_blocks
from patchline.network.zoo import mobilenet_v2
from patchline.schedule import layer_plan, solve
from patchline.schedule.arena import place
from patchline.schedule.batching import batched, rows_of_calls
from patchline.schedule.geometry import Graph
from patchline.schedule.memory import make_segment
from patchline.schedule.occupancy import Occupancies
from random_networks import networks
from walk_plan import walk

TARGET = targets.load("stm32f412")


@given(st.integers(1, 60))
def test_blocks_of_pixels_make_up_the_row(columns: int) -> None:
    blocks = pixel_blocks(columns)
    assert sum(size * count for size, count in zip((4, 3, 2, 1), blocks, strict=True)) == columns
    assert min(blocks) >= 0 and sum(blocks) == -(-columns // 4)


@given(st.integers(0, 20), st.integers(1, 30), st.integers(1, 12))
def test_calls_end_at_multiples_of_the_batch(low: int, count: int, batch: int) -> None:
    y = low
    for rows in rows_of_calls(low, low + count, batch):
        assert 1 <= rows <= batch
        y += rows
        assert y % batch == 0 or y == low + count
    assert y == low + count


def _blocks(network, plan) -> int:
    """Blocks of pixels of all 1x1 convolutions."""
    total = 0
    for segment in plan.segments:
        for i in range(segment.first_op, segment.end_op):
            output = network.tensors[network.ops[i].output]
            rows = rows_of_calls(0, output.height, segment.batches.get(i, 1))
            total += sum(sum(pixel_blocks(n * output.width)) for n in rows)
    return total


def test_narrow_maps_are_batched_where_there_is_room() -> None:
    network = mobilenet_v2(0.35, 96, seed=None)  # ends on maps of 6 and 3 columns
    plan = layer_plan(network, TARGET)
    walk(Graph(network), plan)
    plain = replace(plan, segments=tuple(replace(s, rows_at_once=(1,) * len(s.rows_at_once)) for s in plan.segments))
    batches = {rows for segment in plan.segments for rows in segment.batches.values()}
    assert batches == {2}  # two rows of six are three blocks; three of three are no fewer than 3
    assert _blocks(network, plan) < _blocks(network, plain)
    assert plan.activation_peak_bytes == plan.layer_peak_bytes


@pytest.mark.parametrize("kind", ["auto", "layer", "stream"])
def test_the_memory_decides(kind: str) -> None:
    """What a plan takes is what it takes without batches: they live below the peak."""
    network = mobilenet_v2(0.35, 96, seed=None)
    plan = solve(network, TARGET, kind=kind, max_extra_macs=0.1).plan
    plain = [replace(s, rows_at_once=(1,) * len(s.rows_at_once)) for s in plan.segments]
    overlap = None if kind == "layer" else "rows"
    without = Occupancies(Graph(network), "pulled", overlap).of(plain)
    assert plan.activation_peak_bytes == max(without.activations)
    _, arena_bytes = place(without.buffers, without.overlaps, max(without.placed))
    assert plan.arena_bytes == arena_bytes >= plan.arena_lower_bound_bytes


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from(["layer", "stream"]))
def test_batches_stay_below_the_peak(network, kind) -> None:
    graph = Graph(network)
    segments = [make_segment(graph, kind, 0, len(network.ops))]
    occupancies = Occupancies(graph, "pulled", None)
    before = occupancies.of(segments)
    after = occupancies.of(batched(occupancies, segments, 0))
    assert max(after.activations) <= max(before.activations)
    assert max(after.placed) <= max(before.placed)
