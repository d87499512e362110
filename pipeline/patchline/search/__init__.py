"""Joint search over architecture and inference schedule under a board's limits."""

from patchline.search.cost import Cost, Limits, candidate_cost, predicted_cycles
from patchline.search.study import Candidate, SearchResult, search

__all__ = ["Candidate", "Cost", "Limits", "SearchResult", "candidate_cost", "predicted_cycles", "search"]
