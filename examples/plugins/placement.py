"""A placement solver of one's own: all experts on one device."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.placement.outcome import Placement, PlacementError
from nmoe_sim.placement.problem import PlacementProblem
from nmoe_sim.placement.solvers import SolverSpec


class OneHost(SolverSpec):
    """Every expert on the same device, the best one that has room for all."""

    kind: ClassVar[str] = "one_host"

    def solve(self, problem: PlacementProblem, rng: np.random.Generator) -> Placement:
        """Try the devices from the cheapest on; ``problem`` says what breaks which constraint."""
        cost = problem.cost.sum(axis=0)
        for device in np.argsort(cost, kind="stable"):
            hosts = np.full(len(problem.owner), device)
            if not problem.violations(hosts):
                return problem.placement(hosts, solver=self.kind)
        raise PlacementError("no device has room for all experts; try placement.kind 'milp'")


FAMILIES = {"placement": [OneHost]}
