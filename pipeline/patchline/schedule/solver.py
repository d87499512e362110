"""The exact schedule solver: dynamic programming over cut points with Pareto sets of (peak bytes, redundant MACs).

`best[cut]` holds every undominated (peak, extra MACs) of schedules for the operators before `cut`; a schedule's peak
is the largest of its segments', its extra MACs their sum, so partial schedules extend independently and the front at
the last cut is exact over the space: cuts between blocks, `layer`, `stream` with 1..16 strips, `patch` grids up to 8x8
as first segment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from patchline.network.ir import Network
from patchline.schedule import arena
from patchline.schedule.batching import batched, with_one_batch_less
from patchline.schedule.costs import flash_estimate, static_bytes
from patchline.schedule.geometry import Graph
from patchline.schedule.limits import Limits
from patchline.schedule.memory import (
    input_traffic,
    make_segment,
    redundant_macs,
)
from patchline.schedule.occupancy import Occupancies, OverlapMode
from patchline.schedule.options import Option, SegmentCosts
from patchline.schedule.plan import InputMode, Plan, Segment, Sram
from patchline.targets import Target

Kind = Literal["auto", "layer", "patch", "stream"]
KINDS: dict[str, frozenset[str]] = {
    "auto": frozenset({"layer", "stream", "patch"}),
    "layer": frozenset({"layer"}),
    "patch": frozenset({"layer", "patch"}),
    "stream": frozenset({"stream"}),
}
CROWDED = 0.85  # of the peak: segments above it are hard to place at the same time
MANY = 1 << 20  # tiles
FRONT_EXTRA_MACS = 1.0  # the front is shown up to twice the network's MACs


@dataclass(frozen=True)
class FrontPoint:
    """An undominated schedule: bytes against redundant MACs."""

    arena_bytes: int  # the bound of its plan, which the placement nearly always reaches
    extra_macs: int
    extra_macs_ratio: float
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Solution:
    plan: Plan
    front: tuple[FrontPoint, ...]
    solve_seconds: float
    without_cap: Plan | None = None  # where `plan` needs too much SRAM and a higher cap on redundant MACs would help

    def why_not(self, option: str) -> str:
        """Why the plan does not fit and what would help; `option` is how the reader sets the cap."""
        return "; ".join(filter(None, (self.plan.reason, self.remedy(option))))

    def remedy(self, option: str) -> str:
        """What a higher cap on redundant MACs, set by `option`, would bring; "" where it would not help."""
        other = self.without_cap
        if other is None:
            return ""
        least = self.front[0].arena_bytes + other.sram_peak_bytes - other.arena_bytes
        lowest = f"the least is {least} bytes of SRAM at {self.front[0].extra_macs_ratio:.1%} redundant MACs"
        if not other.fits:
            return f"without the cap on redundant MACs ({option}) {lowest}"
        cap = math.ceil(100 * other.extra_macs_ratio) / 100
        offer = f"`{option} {cap:g}` fits: {other.sram_peak_bytes} bytes of SRAM at {other.extra_macs_ratio:.1%}"
        return f"{offer} redundant MACs" + (f" ({lowest})" if least < other.sram_peak_bytes else "")


@dataclass(frozen=True)
class _State:
    peak: int
    extra: int
    walk: int = 0  # tiles of all segments: among equals, the schedule with less to walk through
    option: Option | None = None
    before: _State | None = None

    def path(self) -> tuple[Option, ...]:
        return (*self.before.path(), self.option) if self.before and self.option else ()


def solve(
    network: Network,
    target: Target,
    *,
    kind: Kind = "auto",
    input_mode: InputMode = "pulled",
    max_extra_macs: float = 0.03,
    sram_budget: int | None = None,
) -> Solution:
    """The best schedule of `network` on `target`, with the whole Pareto front.

    Without `sram_budget` (bytes, counts sram_peak_bytes) it is the least peak under the cap on extra MACs; with a
    budget the fewest MACs that fit it. When nothing fits, the least peak is returned with `fits` False and the reason.
    """
    started = time.perf_counter()
    graph = Graph(network)
    costs = SegmentCosts(graph, input_mode, overlaps_of(kind))
    options = costs.all(KINDS[kind])
    front = _front(costs, options, FRONT_EXTRA_MACS)
    allowed = within_cap(front, max_extra_macs)
    limits = Limits.on(target, sram_budget)

    def build(point: FrontPoint) -> Plan:
        plan = plan_of(point, graph, target, kind, input_mode, sram_budget)
        if plan.arena_bytes > point.arena_bytes:  # not placed at its bound: fewer segments near it may be
            roomier = _front(costs, options, FRONT_EXTRA_MACS, crowded=int(CROWDED * point.arena_bytes))
            same = next(p for p in roomier if (p.arena_bytes, p.extra_macs) == (point.arena_bytes, point.extra_macs))
            plan = min(plan, plan_of(same, graph, target, kind, input_mode, sram_budget), key=lambda x: x.arena_bytes)
        return plan

    def fewest_macs(points: Sequence[FrontPoint]) -> Plan:
        return _fewest_macs(points, build, limits.sram - static_bytes(network, target) - target.firmware.stack_bytes)

    plan = _least_memory(allowed, build) if sram_budget is None else fewest_macs(allowed)
    without_cap = None
    if plan.sram_peak_bytes > limits.sram and len(allowed) < len(front):
        without_cap = fewest_macs(front)
        if without_cap.sram_peak_bytes >= plan.sram_peak_bytes:
            without_cap = None
    return Solution(plan, front, time.perf_counter() - started, without_cap)


def within_cap(front: Sequence[FrontPoint], max_extra_macs: float) -> Sequence[FrontPoint]:
    """Those of `front` that keep the cap on redundant MACs; the one with the fewest where none does."""
    return [p for p in front if p.extra_macs_ratio <= max_extra_macs + 1e-9] or front[-1:]


def _fewest_macs(points: Sequence[FrontPoint], build: Callable[[FrontPoint], Plan], arena_budget: int) -> Plan:
    """`points` run from the least memory to the fewest MACs; placement may cost some bytes, hence the walk."""
    for point in reversed(points):
        if point.arena_bytes <= arena_budget and (plan := build(point)).fits:
            return plan
    return _least_memory(points, build)


def _least_memory(points: Sequence[FrontPoint], build: Callable[[FrontPoint], Plan]) -> Plan:
    """`points` run from the least memory to the fewest MACs; where the first is placed badly, the next may need
    less."""
    best = build(points[0])
    for point in points[1:]:
        if point.arena_bytes >= best.arena_bytes:
            break
        best = min(best, build(point), key=lambda plan: plan.arena_bytes)
    return best


def pareto_front(
    network: Network, kind: Kind, input_mode: InputMode, most_extra_macs: float = FRONT_EXTRA_MACS
) -> tuple[FrontPoint, ...]:
    """All undominated schedules, from the least memory to the fewest MACs."""
    costs = SegmentCosts(Graph(network), input_mode, overlaps_of(kind))
    return _front(costs, costs.all(KINDS[kind]), most_extra_macs)


def _front(
    costs: SegmentCosts, options: Sequence[Option], most_extra_macs: float, crowded: int | None = None
) -> tuple[FrontPoint, ...]:
    """The front over `options`. Among equals the schedule with the fewest tiles; with `crowded` (bytes) the one with
    the fewest segments that need more than that."""
    total = max(costs.graph.network.macs, 1)
    cap = most_extra_macs * total
    by_end: dict[int, list[Option]] = {}
    for option in options:
        if option.extra_macs <= cap:
            by_end.setdefault(option.end, []).append(option)

    def walk(option: Option) -> int:
        return option.tile_rows * option.tile_cols + (MANY if crowded is not None and option.peak > crowded else 0)

    best: dict[int, list[_State]] = {0: [_State(0, 0)]}
    for end in costs.cuts[1:]:
        states = [
            _State(max(s.peak, o.peak), s.extra + o.extra_macs, s.walk + walk(o), o, s)
            for o in by_end.get(end, ())
            for s in best.get(o.first, ())
            if s.extra + o.extra_macs <= cap
        ]
        best[end] = _undominated(states)
    return tuple(FrontPoint(s.peak, s.extra, s.extra / total, s.path()) for s in best[costs.cuts[-1]])


def _undominated(states: list[_State]) -> list[_State]:
    """Sorted by rising peak, falling extra MACs."""
    kept: list[_State] = []
    for state in sorted(states, key=lambda s: (s.peak, s.extra, s.walk)):
        if not kept or state.extra < kept[-1].extra:
            kept.append(state)
    return kept


def layer_plan(
    network: Network, target: Target, input_mode: InputMode = "pulled", sram_budget: int | None = None
) -> Plan:
    """Layer by layer, as the literature counts it (depthwise in place, no other overlap of tensors): the baseline."""
    graph = Graph(network)
    segments = [make_segment(graph, "layer", 0, len(network.ops))]
    return assemble(graph, target, segments, input_mode, overlap=None, sram_budget=sram_budget)


def best_patch_plan(
    network: Network, target: Target, input_mode: InputMode = "pulled", sram_budget: int | None = None
) -> Plan:
    """MCUNetV2's kind of plan at its best: the least memory over all grids and lengths of the patch stage, whatever is
    computed twice.

    Among equals the fewest MACs. Input that is pushed cannot be cut into patches.
    """
    graph = Graph(network)
    front = pareto_front(network, "patch", input_mode, most_extra_macs=math.inf)
    return _least_memory(front, lambda p: plan_of(p, graph, target, "patch", input_mode, sram_budget))


def patch_plan(
    network: Network,
    target: Target,
    grid: int,
    blocks: int,
    input_mode: InputMode = "pulled",
    sram_budget: int | None = None,
) -> Plan:
    """MCUNetV2's plan: the first `blocks` blocks (the stem counts as one) in grid x grid patches, the rest layer by
    layer.

    Raises ValueError when the network has fewer blocks or its maps are smaller than the grid.
    """
    graph = Graph(network)
    end = end_of_block(network, blocks)
    segments = [make_segment(graph, "patch", 0, end, grid, grid)]
    if end < len(network.ops):
        segments.append(make_segment(graph, "layer", end, len(network.ops)))
    return assemble(graph, target, segments, input_mode, overlap="elementwise", sram_budget=sram_budget)


def end_of_block(network: Network, blocks: int) -> int:
    """Index behind the last operator of the first `blocks` distinct block labels."""
    labels = list(dict.fromkeys(op.block for op in network.ops))
    if not 1 <= blocks <= len(labels):
        raise ValueError(f"{network.name} has {len(labels)} blocks, {blocks} were asked for")
    return max(i for i, op in enumerate(network.ops) if op.block in labels[:blocks]) + 1


def plan_of(
    point: FrontPoint, graph: Graph, target: Target, kind: Kind, input_mode: InputMode, sram_budget: int | None = None
) -> Plan:
    """The plan of a point of the front; `kind` and `input_mode` are those of the front."""
    return assemble(
        graph, target, segments_of(point, graph), input_mode, overlap=overlaps_of(kind), sram_budget=sram_budget
    )


def segments_of(point: FrontPoint, graph: Graph) -> list[Segment]:
    return [make_segment(graph, o.kind, o.first, o.end, o.tile_rows, o.tile_cols, o.up) for o in point.options]


def overlaps_of(kind: Kind) -> OverlapMode:
    """What a kind of schedule may lay over each other."""
    return "rows" if kind in ("auto", "stream") else ("elementwise" if kind == "patch" else None)


def assemble(
    graph: Graph, target: Target, segments: Sequence[Segment], input_mode: InputMode, *, overlap: OverlapMode,
    sram_budget: int | None = None,
) -> Plan:  # fmt: skip
    """The Plan of a chosen list of segments: buffers, overlaps, placement and all totals."""
    network = graph.network
    count = len(network.ops)
    occupancies = Occupancies(graph, input_mode, overlap)
    needs = occupancies.of(segments)
    placed, arena_bytes = arena.place(needs.buffers, needs.overlaps, max(needs.placed))
    baseline = occupancies if overlap is None else Occupancies(graph, input_mode, None)  # a layer plan is its own
    layer = baseline.of([make_segment(graph, "layer", 0, count)])
    # what the peak leaves free elsewhere makes narrow maps quicker, as far as it can be placed as well
    trying = batched(occupancies, segments, arena_bytes)
    while any(segment.batches for segment in trying):
        more = occupancies.of(trying)
        placed_more, size = arena.place(more.buffers, more.overlaps, arena_bytes)
        if size <= arena_bytes:
            segments, needs, placed = trying, more, placed_more
            break
        trying = with_one_batch_less(trying, more)
    peak = max(needs.activations)
    fixed = static_bytes(network, target)
    sram = Sram(peak, arena_bytes - peak, fixed, target.firmware.stack_bytes)
    flash = flash_estimate(network, segments, target)
    traffic = input_traffic(network, segments, input_mode)
    reason = _why_not(sram.total, sram_budget, target, flash.total)
    return Plan(
        network=network.name, target=target.name, input_mode=input_mode,
        input_passes=traffic / network.tensors[network.input].bytes, input_bytes_read=traffic,
        segments=tuple(segments), buffers=placed, overlaps=needs.overlaps,
        arena_bytes=arena_bytes, arena_lower_bound_bytes=max(needs.placed), activation_peak_bytes=peak,
        sram=sram, flash=flash, macs=network.macs,
        extra_macs=sum(redundant_macs(network, s) for s in segments),
        op_peak_bytes=needs.activations, op_peak_layer_bytes=layer.activations,
        layer_peak_bytes=max(layer.activations), sram_layer_by_layer_bytes=max(layer.placed) + fixed + sram.stack,
        fits=not reason, reason=reason,
    )  # fmt: skip


def _why_not(sram: int, budget: int | None, target: Target, flash: int) -> str:
    limits = Limits.on(target, budget)
    if sram > limits.sram:
        whose = "the budget" if limits.sram == budget else f"{target.name}'s SRAM"
        return f"needs {sram} bytes of SRAM, {sram - limits.sram} more than {whose} of {limits.sram}"
    if flash > limits.flash:
        return f"needs about {flash} bytes of flash, {flash - limits.flash} more than {target.name} has"
    return ""
