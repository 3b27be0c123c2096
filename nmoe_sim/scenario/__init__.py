"""What the user writes: a frozen, checked scenario, and the loader that says where a file is wrong."""

from nmoe_sim.scenario.loader import build, load
from nmoe_sim.scenario.merge import Override
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.schema import json_schema
from nmoe_sim.scenario.spec import Families, Family, Spec

__all__ = ["Families", "Family", "Override", "Scenario", "Spec", "build", "json_schema", "load"]
