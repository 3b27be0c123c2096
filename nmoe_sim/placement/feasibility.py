"""Is there a placement at all, and if not, what is missing."""

from __future__ import annotations

import numpy as np

from nmoe_sim.placement.mixed_integer import NODE_LIMIT, least_overrun_hosts, solve_assignment
from nmoe_sim.placement.outcome import Infeasible, si
from nmoe_sim.placement.problem import IntArray, PlacementProblem


def feasible_hosts(
    problem: PlacementProblem, *, time_limit_s: float | None = None, node_limit: int | None = None
) -> IntArray | None:
    """Find any placement that meets every constraint, whatever it costs.

    Parameters
    ----------
    problem : PlacementProblem
        The problem.
    time_limit_s : float, optional
        Wall-clock limit of each run of HiGHS.
    node_limit : int, optional
        Limit of each run's branch-and-bound tree.

    Returns
    -------
    ndarray of int or None
        Hosts, shape ``[E]``; None if the limits left it open whether a placement exists.

    Raises
    ------
    Infeasible
        If none exists; the message says which constraint is short by how much, and where.
    """
    reason = plain_reason(problem)
    if reason is not None:
        raise Infeasible(reason)
    nothing, anywhere = np.zeros_like(problem.cost), np.ones_like(problem.reachable)
    solution = solve_assignment(problem, nothing, anywhere, time_limit_s=time_limit_s, node_limit=node_limit)
    if solution.hosts is not None or np.isfinite(solution.bound):
        return solution.hosts
    closest = least_overrun_hosts(problem)
    if closest is None:
        raise Infeasible("no placement meets every constraint")
    broken = problem.violations(closest)
    if broken:
        raise Infeasible("no placement meets every constraint; in the closest found, " + "; ".join(map(str, broken)))
    # Some versions of HiGHS wrongly called a model infeasible (scipy/scipy#18907): a placement in hand refutes it.
    return closest


def other_solver_may(problem: PlacementProblem) -> str:
    """Say whether a solver that gave up missed something: the end of its message.

    Raises
    ------
    Infeasible
        If it missed nothing: no placement exists.
    """
    missed = feasible_hosts(problem, node_limit=NODE_LIMIT) is not None
    outlook = "though a feasible one exists" if missed else "and a short search left open whether one exists"
    return f"{outlook}; try placement.kind 'milp'"


def plain_reason(problem: PlacementProblem) -> str | None:
    """Say why no placement exists where one sum or one expert shows it; None where that takes a search."""
    names = problem.expert_names
    for resource in problem.resources:
        unit, left, most = resource.unit, resource.left, float(resource.capacity.max())
        for e in np.flatnonzero(resource.need > resource.limit.max()):
            need = si(float(resource.need[e]), unit)
            return f"{names[e]} ({need}) fits no device: the largest has {si(most, unit)} {left}"
        total_need, total = float(resource.need.sum()), float(resource.capacity.sum())
        if total_need > float(resource.limit.sum()):
            return (
                f"the experts need {si(total_need, unit)}; the devices have {si(total, unit)} {left}: "
                f"{si(total_need - total, unit)} short"
            )
    for e in np.flatnonzero(~problem.reachable.any(axis=1)):
        options = [problem.out_of_reach(int(e), v) for v in range(problem.flop_per_s.size)]
        nearest = min(options, key=lambda violation: violation.excess)
        return f"{names[e]} has no host within reach of all that ask it; at best, {nearest}"
    return None
