"""What a candidate costs on a board: memory and MACs exactly, from the schedule solver; latency as predicted from
measured kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from patchline.config import SearchParams
from patchline.network.ir import Network
from patchline.schedule import Plan, latency, pareto_front, solve
from patchline.schedule.batching import batched
from patchline.schedule.costs import flash_estimate, static_bytes
from patchline.schedule.geometry import Graph, segment_ranges
from patchline.schedule.memory import layer_steps
from patchline.schedule.occupancy import Occupancies
from patchline.schedule.options import Option
from patchline.schedule.plan import InputMode, Segment, TileRange
from patchline.schedule.solver import FrontPoint, Kind, overlaps_of
from patchline.supernet.architecture import Architecture, build_network
from patchline.targets import Target

Ranges = dict[str, tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Limits:
    """What a candidate must keep to. `sram` counts sram_peak_bytes; None means no limit."""

    sram: int
    flash: int
    macs: int | None = None  # including redundant ones
    latency_ms: float | None = None

    @staticmethod
    def of(params: SearchParams, target: Target) -> Limits:
        """The limits of `params`; the board's own sizes where these are smaller or nothing is set."""
        sram, flash = (
            min(size, budget or size)
            for size, budget in ((target.sram.size, params.sram_budget), (target.flash.size, params.flash_budget))
        )
        return Limits(sram, flash, params.max_macs, params.max_latency_ms)


@dataclass(frozen=True)
class Cost:
    """Costs of one candidate under the schedule that a search settles on for it."""

    sram_peak_bytes: int  # least within the cap on redundant MACs (before placement, which may add some bytes)
    flash_bytes: int
    macs: int  # of the network
    executed_macs: int  # with the redundant ones of the cheapest schedule that fits
    latency_ms_est: float

    def violations(self, limits: Limits) -> dict[str, float]:
        """How far each limit is exceeded, as a share of it; zero or less where it is kept."""
        pairs: dict[str, tuple[float, float | None]] = {
            "sram": (self.sram_peak_bytes, limits.sram),
            "flash": (self.flash_bytes, limits.flash),
            "macs": (self.executed_macs, limits.macs),
            "latency": (self.latency_ms_est, limits.latency_ms),
        }
        return {name: value / limit - 1 for name, (value, limit) in pairs.items() if limit is not None}

    def fits(self, limits: Limits) -> bool:
        return all(violation <= 0 for violation in self.violations(limits).values())


def surely_breaks(arch: Architecture, target: Target, limits: Limits, image_size: int | None = None) -> bool:
    """Whether `arch` is too large under any schedule, by MACs or flash: known in a tenth of the time of its cost."""
    network = build_network(arch, image_size=image_size)
    return (limits.macs is not None and network.macs > limits.macs) or (
        flash_estimate(network, (), target).total > limits.flash
    )


def candidate_cost(
    arch: Architecture, target: Target, params: SearchParams, limits: Limits, image_size: int | None = None
) -> Cost:
    """Costs of `arch` on `target`, without placing a single buffer; `image_size` as in `build_network`.

    The front of schedules is exact; it depends on the network only, so that boards share the work.
    """
    network, front = _front(arch, params.schedule, params.input, image_size)
    allowed = [p for p in front if p.extra_macs_ratio <= params.max_extra_macs + 1e-9] or [front[-1]]
    fixed = static_bytes(network, target) + target.firmware.stack_bytes
    # as `solve`: without a budget the least memory, with one the fewest MACs; fronts run from the one to the other
    fitting = allowed[:1]
    if params.sram_budget is not None:
        fitting = [p for p in allowed if p.arena_bytes + fixed <= limits.sram] or fitting
    chosen = fitting[-1]
    segments = _segments(arch, params.schedule, params.input, image_size, chosen)
    cycles = latency.predicted_cycles(network, segments, target)
    return Cost(
        allowed[0].arena_bytes + fixed,
        flash_estimate(network, (), target).total,
        network.macs,
        network.macs + chosen.extra_macs,
        1000 * cycles / target.clock_hz,
    )


def candidate_plan(
    arch: Architecture, target: Target, params: SearchParams, image_size: int | None = None
) -> tuple[Network, Plan]:
    """The network of `arch` and its whole plan, placed: the one that stage generate makes of the quantised network."""
    network = build_network(arch, image_size=image_size)
    solution = solve(
        network, target, kind=params.schedule, input_mode=params.input, max_extra_macs=params.max_extra_macs,
        sram_budget=params.sram_budget,
    )  # fmt: skip
    return network, solution.plan


def predicted_cycles(network: Network, plan: Plan, target: Target) -> float:
    """Estimated cycles of one inference under `plan`, from measured figures of the kernels."""
    return latency.predicted_cycles(network, plan.segments, target)


@lru_cache(maxsize=4096)
def _front(
    arch: Architecture, kind: Kind, input_mode: InputMode, image_size: int | None
) -> tuple[Network, tuple[FrontPoint, ...]]:
    network = build_network(arch, image_size=image_size)
    return network, pareto_front(network, kind, input_mode)


@lru_cache(maxsize=4096)
def _segments(
    arch: Architecture, kind: Kind, input_mode: InputMode, image_size: int | None, point: FrontPoint
) -> tuple[Segment, ...]:
    """The segments of a schedule of `arch`: its tiles and its rows at once, which boards share too."""
    network, _ = _front(arch, kind, input_mode, image_size)
    graph = Graph(network)
    occupancies = Occupancies(graph, input_mode, overlaps_of(kind))
    return batched(occupancies, [_segment(graph, option) for option in point.options], point.arena_bytes)


def _segment(graph: Graph, o: Option) -> Segment:
    """What `make_segment` makes, in a fraction of its time: a direction that is not divided is computed whole."""
    ops = graph.network.ops[o.first : o.end]
    names = dict.fromkeys(name for op in ops for name in (*op.inputs, op.output))
    rows: Ranges = {name: ((0, graph.size(name, "rows")),) for name in names}
    cols: Ranges = {name: ((0, graph.size(name, "cols")),) for name in names}
    if o.tile_rows > 1:
        rows, _ = segment_ranges(graph, o.first, o.end, o.tile_rows, "rows")
    if o.tile_cols > 1:
        cols, _ = segment_ranges(graph, o.first, o.end, o.tile_cols, "cols", o.up)
    steps = ((o.first, o.end),) if o.kind == "stream" else layer_steps(graph, o.first, o.end)
    ranges = tuple(TileRange(name, rows[name], cols[name]) for name in names)
    return Segment(o.kind, o.first, o.end, steps, o.tile_rows, o.tile_cols, ranges, (1,) * (o.end - o.first))
