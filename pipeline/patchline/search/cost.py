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
from patchline.schedule.geometry import Graph
from patchline.schedule.limits import Limits
from patchline.schedule.occupancy import Occupancies
from patchline.schedule.plan import InputMode, Segment
from patchline.schedule.solver import FrontPoint, Kind, overlaps_of, segments_of, within_cap
from patchline.supernet.architecture import Architecture, build_network
from patchline.targets import Target


@dataclass(frozen=True)
class Cost:
    """Costs of one candidate under the schedule that a search settles on for it."""

    sram_peak_bytes: int  # least within the cap on redundant MACs (before placement, which may add some bytes)
    flash_bytes: int
    macs: int  # of the network
    executed_macs: int  # with those that the cheapest schedule that fits computes twice
    latency_ms_est: float

    @property
    def extra_macs_ratio(self) -> float:
        return self.executed_macs / self.macs - 1 if self.macs else 0.0

    def violations(self, limits: Limits) -> dict[str, float]:
        """By metric, how far each limit is exceeded, as a share of it; zero or less where it is kept.

        The cap on redundant MACs is none of them: the schedule keeps it.
        """
        return {
            limit.metric: getattr(self, limit.metric) / limit.value - 1
            for limit in limits.each()
            if limit.metric != "extra_macs_ratio"
        }

    def fits(self, limits: Limits) -> bool:
        return all(violation <= 0 for violation in self.violations(limits).values())


def surely_breaks(arch: Architecture, target: Target, limits: Limits, image_size: int | None = None) -> bool:
    """Whether `arch` is too large under any schedule, by MACs or flash: known in a tenth of the time of its cost."""
    network = _network(arch, image_size)
    return (limits.executed_macs is not None and network.macs > limits.executed_macs) or (
        flash_estimate(network, (), target).total > limits.flash
    )


def candidate_cost(
    arch: Architecture, target: Target, params: SearchParams, limits: Limits, image_size: int | None = None
) -> Cost:
    """Costs of `arch` on `target`, without placing a single buffer; `image_size` as in `build_network`.

    The front of schedules is exact; it depends on the network only, so that boards share the work.
    """
    network, front = _front(arch, params.schedule, params.input, image_size)
    allowed = within_cap(front, params.max_extra_macs)
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


@lru_cache(maxsize=8)  # a draw that is not ruled out is priced next
def _network(arch: Architecture, image_size: int | None) -> Network:
    return build_network(arch, image_size=image_size)


@lru_cache(maxsize=4096)
def _front(
    arch: Architecture, kind: Kind, input_mode: InputMode, image_size: int | None
) -> tuple[Network, tuple[FrontPoint, ...]]:
    network = _network(arch, image_size)
    return network, pareto_front(network, kind, input_mode)


@lru_cache(maxsize=4096)
def _segments(
    arch: Architecture, kind: Kind, input_mode: InputMode, image_size: int | None, point: FrontPoint
) -> tuple[Segment, ...]:
    """The segments of a schedule of `arch`: its tiles and its rows at once, which boards share too."""
    network, _ = _front(arch, kind, input_mode, image_size)
    graph = Graph(network)
    occupancies = Occupancies(graph, input_mode, overlaps_of(kind))
    return batched(occupancies, segments_of(point, graph), point.arena_bytes)
