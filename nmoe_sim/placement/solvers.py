"""Placement solvers: the family ``placement``."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from nmoe_sim.placement.feasibility import feasible_hosts, other_solver_may
from nmoe_sim.placement.heuristics import greedy_hosts, prefer_owners, random_hosts
from nmoe_sim.placement.mixed_integer import solve_assignment
from nmoe_sim.placement.outcome import Placement, PlacementError
from nmoe_sim.placement.problem import IntArray, PlacementProblem
from nmoe_sim.scenario.quantities import Count, Fraction, Positive, Probability
from nmoe_sim.scenario.spec import Spec

# Costs reach HiGHS as 0 to this, so that its absolute tolerance of 1e-6 is 1e-10 of what can be gained.
_COST_SPAN = 1e4


class PlacementSolver(Protocol):
    """Anything that answers a placement problem."""

    @property
    def max_utilisation(self) -> float | None:
        """Share of a device's FLOP/s that all work may take; None: no limit."""

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Find a feasible placement.

        Parameters
        ----------
        problem : PlacementProblem
            What to place where.
        rng : numpy.random.Generator
            The only source of randomness.

        Raises
        ------
        Infeasible
            If it is proven that no placement exists.
        PlacementError
            If this solver has none to offer.
        """


class SolverSpec(Spec):
    """Base of the placement solvers' specs."""

    max_utilisation: Fraction | None = 0.9
    """Share of a device's FLOP/s that all its work may take on average; null: queues may grow without end."""


class Home(SolverSpec):
    """Every expert stays at its owner."""

    kind: ClassVar[str] = "home"

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Return the owners, or raise ``PlacementError`` if they can't all host their experts."""
        broken = problem.violations(problem.owner)
        if broken:
            hint = " or lift placement.max_utilisation" * all(v.constraint == "compute" for v in broken)
            raise PlacementError(
                "not every owner can host its expert: "
                + "; ".join(map(str, broken))
                + f"; let placement.kind 'greedy' or 'milp' look for other hosts{hint}"
            )
        return problem.placement(problem.owner, solver=self.kind)


class RandomPlacement(SolverSpec):
    """Experts in random order, each at a random host that has room."""

    kind: ClassVar[str] = "random"

    tries: Count = 1000
    """Dead ends to accept before giving up."""

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Return the first random placement that is feasible."""
        hosts = random_hosts(problem, rng, self.tries)
        if hosts is None:
            outlook = other_solver_may(problem)
            raise PlacementError(f"no feasible placement in {self.tries} random tries, {outlook}")
        return problem.placement(hosts, solver=self.kind)


class Greedy(SolverSpec):
    """The expert with the largest regret goes to its cheapest host, then the next."""

    kind: ClassVar[str] = "greedy"

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Return the greedy placement; see ``heuristics.greedy_hosts`` for what it does in a corner."""
        hosts, stuck = greedy_hosts(problem)
        if stuck is not None:
            outlook, name = other_solver_may(problem), problem.expert_names[stuck]
            raise PlacementError(f"greedy finds no host for {name}, even by moving one other expert, {outlook}")
        return problem.placement(prefer_owners(problem, hosts), solver=self.kind)


class MILP(SolverSpec):
    """The best placement, with a proof: mixed-integer linear programming by HiGHS."""

    kind: ClassVar[str] = "milp"

    time_limit_s: Positive | None = None
    """Wall-clock limit of each run of HiGHS; with one, the result depends on the machine."""
    relative_gap: Probability = 0.0
    """Stop when the objective is proven to be within this share of the best."""

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Return the best placement found and the bound proven for it.

        A first placement, greedy or merely feasible, of cost U is compared with the floor L that puts each
        expert at its cheapest possible host. No expert can cost more than U - L above its cheapest host in
        a better placement, so HiGHS sees only such hosts, and costs above the cheapest in units of
        (U - L) / 1e4: no time unit and no far-off host disturbs its absolute tolerances. ``relative_gap``
        is thereby applied to the objective above L and holds all the more for the whole of it. The bound is
        lowered by HiGHS's tolerances: about 1e-10 of U - L.
        """
        greedy, stuck = greedy_hosts(problem)
        first = greedy if stuck is None else feasible_hosts(problem, time_limit_s=self.time_limit_s)
        if first is None:
            raise PlacementError(
                f"no placement found within {self.time_limit_s} s and none ruled out: raise placement.time_limit_s"
            )
        best, bound = self._improve(problem, first)
        return problem.placement(prefer_owners(problem, best), solver=self.kind, bound=bound)

    def _improve(self, problem: PlacementProblem, first: IntArray) -> tuple[IntArray, float]:
        cost = np.where(problem.fits_alone, problem.cost, np.inf)
        floor = cost.min(axis=1)
        excess = cost - floor[:, None]
        window = float(excess[np.arange(first.size), first].sum())
        if window == 0.0:
            return first, float(floor.sum())
        unit = window / _COST_SPAN
        solution = solve_assignment(
            problem,
            excess / unit,
            excess <= window,
            relative_gap=self.relative_gap,
            time_limit_s=self.time_limit_s,
        )
        # ``first`` is itself an answer, so a claim that there is none proves nothing.
        proven = unit * solution.bound if np.isfinite(solution.bound) else 0.0
        best = min((hosts for hosts in (first, solution.hosts) if hosts is not None), key=problem.evaluate)
        return best, min(problem.evaluate(best), float(floor.sum()) + proven)
