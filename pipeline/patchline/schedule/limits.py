"""What a network on a board must keep to: the budgets that were set, and the board's own sizes.

The one place where limits are derived and named: solver, search, stages, report and promotion read them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from patchline.targets import Target

if TYPE_CHECKING:
    from patchline.config import SearchParams


@dataclass(frozen=True)
class Limit:
    """An upper bound on one metric."""

    metric: str
    name: str  # as a message has it
    unit: str  # "B", "MACs", "ms" or "ratio"
    parameter: str  # in section `search` of params.yaml
    value: float


@dataclass(frozen=True)
class Limits:
    """`sram` counts sram_peak_bytes. None means no limit."""

    sram: int
    flash: int
    executed_macs: int | None = None  # of one inference, with those computed twice: what takes time
    latency_ms: float | None = None  # estimated
    extra_macs_ratio: float | None = None  # MACs computed twice, as a share of the network's

    @staticmethod
    def on(target: Target, sram_budget: int | None = None, flash_budget: int | None = None) -> Limits:
        """Budgets in bytes; the board's own sizes where these are smaller or nothing is set."""
        return Limits(
            sram=min(target.sram.size, sram_budget or target.sram.size),
            flash=min(target.flash.size, flash_budget or target.flash.size),
        )

    @staticmethod
    def of(params: SearchParams, target: Target) -> Limits:
        """All limits of section `search` of params.yaml."""
        board = Limits.on(target, params.sram_budget, params.flash_budget)
        return Limits(board.sram, board.flash, params.max_macs, params.max_latency_ms, params.max_extra_macs)

    def each(self) -> tuple[Limit, ...]:
        """Those that are set."""
        found: list[tuple[float | None, tuple[str, str, str, str]]] = [
            (self.sram, ("sram_peak_bytes", "SRAM", "B", "sram_budget")),
            (self.flash, ("flash_bytes", "flash", "B", "flash_budget")),
            (self.executed_macs, ("executed_macs", "executed MACs", "MACs", "max_macs")),
            (self.latency_ms, ("latency_ms_est", "estimated latency", "ms", "max_latency_ms")),
            (self.extra_macs_ratio, ("extra_macs_ratio", "redundant MACs", "ratio", "max_extra_macs")),
        ]
        return tuple(Limit(*names, value) for value, names in found if value is not None)


def executed_macs(macs: float, extra_macs_ratio: float) -> int:
    """MACs of one inference, those that the schedule computes twice included."""
    return round(macs * (1 + extra_macs_ratio))
