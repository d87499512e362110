"""Which rows and columns are computed when, and what that costs in memory: geometry, memory model, solver, arena ->
Plan."""

from patchline.schedule.plan import Plan, load_plan, plan_from_dict
from patchline.schedule.solver import FrontPoint, Solution, best_patch_plan, layer_plan, pareto_front, patch_plan, solve

__all__ = [
    "FrontPoint",
    "Plan",
    "Solution",
    "best_patch_plan",
    "layer_plan",
    "load_plan",
    "pareto_front",
    "patch_plan",
    "plan_from_dict",
    "solve",
]
