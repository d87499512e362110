"""What a candidate costs on a board: memory and MACs exactly, from the schedule solver; latency as an estimate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from patchline.config import SearchParams
from patchline.network.ir import Conv, Depthwise, Network, Op
from patchline.schedule import Plan, pareto_front, solve
from patchline.schedule.costs import flash_estimate, static_bytes
from patchline.schedule.solver import FrontPoint, Kind
from patchline.supernet.architecture import Architecture, build_network
from patchline.targets import Target

# Estimated cycles of the DSP kernels on a Cortex-M4, from kernels tried in the cycle model.
POINTWISE_CYCLES_PER_MAC = 1.15
POINTWISE_CYCLES_PER_INPUT = 8.0  # per output and 1/channels_in: loads and the epilogue weigh more where a sum is short
DEPTHWISE_CYCLES_PER_MAC = {1: 2.2, 2: 2.9}  # by stride
OTHER_CYCLES_PER_VALUE = 6.0
CORE_FACTOR = {"cortex-m4": 1.0, "cortex-m7": 0.55}  # the M7 issues two instructions a cycle


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


def candidate_cost(arch: Architecture, target: Target, params: SearchParams, limits: Limits) -> Cost:
    """Costs of `arch` on `target`, without placing a single buffer.

    The front of schedules is exact; it depends on the network only, so that boards share the work.
    """
    network, front = _front(arch, params.schedule, params.input)
    allowed = [p for p in front if p.extra_macs_ratio <= params.max_extra_macs + 1e-9] or [front[-1]]
    fixed = static_bytes(network, target) + target.firmware.stack_bytes
    # as `solve`: without a budget the least memory, with one the fewest MACs; fronts run from the one to the other
    fitting = allowed[:1]
    if params.sram_budget is not None:
        fitting = [p for p in allowed if p.arena_bytes + fixed <= limits.sram] or fitting
    executed = network.macs + fitting[-1].extra_macs
    cycles = network_cycles(network, target) * executed / network.macs
    return Cost(
        allowed[0].arena_bytes + fixed,
        flash_estimate(network, (), target).total,
        network.macs,
        executed,
        1000 * cycles / target.clock_hz,
    )


def candidate_plan(arch: Architecture, target: Target, params: SearchParams) -> tuple[Network, Plan]:
    """The network of `arch` and its whole plan, placed: the one that stage generate makes of the quantised network."""
    network = build_network(arch)
    solution = solve(
        network, target, kind=params.schedule, input_mode=params.input, max_extra_macs=params.max_extra_macs,
        sram_budget=params.sram_budget,
    )  # fmt: skip
    return network, solution.plan


def predicted_cycles(network: Network, plan: Plan, target: Target) -> float:
    """Estimated cycles of one inference under `plan`, from MACs per kind of operator (see the constants above)."""
    return network_cycles(network, target) * (1 + plan.extra_macs_ratio)


def network_cycles(network: Network, target: Target) -> float:
    """Estimated cycles of one inference with nothing computed twice."""
    return CORE_FACTOR[target.core] * sum(_op_cycles(network, op) for op in network.ops)


def _op_cycles(network: Network, op: Op) -> float:
    output = network.tensors[op.output]
    positions = output.height * output.width
    macs = network.macs_per_position(op) * positions
    if isinstance(op, Conv):
        return macs * (POINTWISE_CYCLES_PER_MAC + POINTWISE_CYCLES_PER_INPUT / op.weights[0].size)
    if isinstance(op, Depthwise):
        return macs * DEPTHWISE_CYCLES_PER_MAC[min(2, op.stride[1])]
    return OTHER_CYCLES_PER_VALUE * max(network.tensors[name].bytes for name in (*op.inputs, op.output))


@lru_cache(maxsize=4096)
def _front(arch: Architecture, kind: Kind, input_mode: str) -> tuple[Network, tuple[FrontPoint, ...]]:
    network = build_network(arch)
    return network, pareto_front(network, kind, input_mode)  # type: ignore[arg-type]
