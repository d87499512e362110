"""Joint search over architecture and inference schedule under a board's limits."""

from patchline.schedule.limits import Limits
from patchline.search.cost import Cost, candidate_cost, predicted_cycles
from patchline.search.study import Candidate, SearchResult, search

__all__ = ["Candidate", "Cost", "Limits", "SearchResult", "candidate_cost", "predicted_cycles", "search"]
