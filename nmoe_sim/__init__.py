"""Co-simulation of networked mixtures of experts on wireless edge networks.

>>> from nmoe_sim import load_scenario, run
>>> result = run(load_scenario("scenarios/quickstart.yaml"), out_dir="runs/a")  # doctest: +SKIP
>>> result.tables["requests"]  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nmoe_sim.version import __version__

if TYPE_CHECKING:
    from nmoe_sim.errors import InputError, NmoeSimError, RunError
    from nmoe_sim.families import build_scenario, load_scenario
    from nmoe_sim.results.rundir import RunResult, load_run
    from nmoe_sim.runner import run
    from nmoe_sim.scenario.scenario import Scenario

_HOME = {
    "InputError": "errors",
    "NmoeSimError": "errors",
    "RunError": "errors",
    "RunResult": "results.rundir",
    "Scenario": "scenario.scenario",
    "build_scenario": "families",
    "load_run": "results.rundir",
    "load_scenario": "families",
    "run": "runner",
}

__all__ = [
    "InputError",
    "NmoeSimError",
    "RunError",
    "RunResult",
    "Scenario",
    "__version__",
    "build_scenario",
    "load_run",
    "load_scenario",
    "run",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first asked for: ``nmoe-sim --help`` must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'nmoe_sim' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"nmoe_sim.{_HOME[name]}"), name)
    globals()[name] = value
    return value
