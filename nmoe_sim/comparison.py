"""Placement solvers side by side, on one trained model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nmoe_sim.checks import check
from nmoe_sim.errors import InputError
from nmoe_sim.lifecycle import trained_problem
from nmoe_sim.placement.outcome import PlacementError
from nmoe_sim.placement.solvers import PlacementSolver
from nmoe_sim.preparation import prepare
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.learning import Progress, no_progress

if TYPE_CHECKING:
    import pandas as pd


def compare_solvers(scenario: Scenario, solvers: Sequence[str], *, progress: Progress = no_progress) -> pd.DataFrame:
    """Train a scenario's model, then have every solver place its experts.

    Parameters
    ----------
    scenario : Scenario
        Every solver takes over the settings it shares with the scenario's own.
    solvers : sequence of str
        Kinds of the family ``placement``.
    progress : Progress

    Returns
    -------
    DataFrame
        One row a solver: ``solver``, ``objective`` (expert-seconds per second), ``mean_delay_s``,
        ``bound``, ``gap``, ``solve_time_s`` (wall clock), ``moved`` (experts away from home), ``hosts``,
        ``message`` (why there is no placement).

    Raises
    ------
    InputError
        For an unknown solver.
    """
    import pandas as pd

    specs = {name: _solver(scenario, name) for name in solvers}
    layout = check(scenario)
    learning = prepare(scenario, layout, progress=progress)
    problem = trained_problem(learning, layout)
    rows = []
    for name, spec in specs.items():
        row: dict[str, Any] = {"solver": name}
        started = time.perf_counter()
        try:
            placement = spec.solve(problem, learning.simulation.streams.generator("placement"))
        except PlacementError as error:
            row |= {"solve_time_s": time.perf_counter() - started, "message": str(error)}
        else:
            row |= {
                "objective": placement.objective,
                "mean_delay_s": placement.mean_delay_s,
                "bound": placement.bound,
                "gap": placement.gap,
                "solve_time_s": time.perf_counter() - started,
                "moved": int((placement.hosts != problem.owner).sum()),
                "hosts": " ".join(problem.device_names[i] for i in placement.hosts.tolist()),
            }
        rows.append(row)
    columns = ["solver", "objective", "mean_delay_s", "bound", "gap", "solve_time_s", "moved", "hosts", "message"]
    return pd.DataFrame(rows, columns=columns)


def _solver(scenario: Scenario, name: str) -> PlacementSolver:
    try:
        solver: PlacementSolver = scenario.replace({"placement.kind": name}).placement
    except InputError as error:
        raise InputError(error.message, where=f"--solver {name}") from error
    return solver
