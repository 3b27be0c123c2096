"""Expert placement: a pure problem on arrays, and its solvers."""

from nmoe_sim.placement.outcome import Infeasible, Placement, PlacementError, Violation
from nmoe_sim.placement.problem import PlacementProblem
from nmoe_sim.placement.solvers import MILP, Greedy, Home, PlacementSolver, RandomPlacement

__all__ = [
    "MILP",
    "Greedy",
    "Home",
    "Infeasible",
    "Placement",
    "PlacementError",
    "PlacementProblem",
    "PlacementSolver",
    "RandomPlacement",
    "Violation",
]
