"""Sweeps: many variants of one scenario, run on all cores or a cluster, into one directory of tables."""

from nmoe_sim.sweeps.execute import SweepResult, run_sweep
from nmoe_sim.sweeps.plan import Plan, Run, make_plan
from nmoe_sim.sweeps.spec import Sweep, load_sweep

__all__ = ["Plan", "Run", "Sweep", "SweepResult", "load_sweep", "make_plan", "run_sweep"]
