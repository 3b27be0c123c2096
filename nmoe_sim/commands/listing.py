"""``nmoe-sim schema`` and ``nmoe-sim scenarios``: what a scenario may say, and which there are."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import add_command

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
    add_command(commands, "schema", "print the JSON Schema of a scenario", _schema)
    add_command(commands, "scenarios", "list the shipped scenarios", _scenarios)


def _schema(options: argparse.Namespace) -> int:
    from nmoe_sim.families import families
    from nmoe_sim.scenario import json_schema

    print(json.dumps(json_schema(families()), indent=2))
    return 0


def _scenarios(options: argparse.Namespace) -> int:
    from nmoe_sim.families import load_scenario
    from nmoe_sim.shipped import shipped

    for path in shipped():
        print(f"{path.stem:24} {load_scenario(path).description} ({path})")
    return 0
