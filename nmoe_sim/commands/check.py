"""``nmoe-sim check``: whether scenarios can run, and what they will cost."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import SCENARIO_HELP, add_command, add_scenario_options, load, warn
from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "check", "validate scenarios; run nothing", _check)
    parser.add_argument("scenario", nargs="+", metavar="SCENARIO.yaml", help=SCENARIO_HELP)
    parser.add_argument("--cost", action="store_true", help="also say FLOP, bytes and memory per device")
    add_scenario_options(parser)


def _check(options: argparse.Namespace) -> int:
    status = 0
    for name in options.scenario:
        try:
            _check_one(options, name)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            status = error.exit_status
    return status


def _check_one(options: argparse.Namespace, name: str) -> None:
    from nmoe_sim.checks import check, concerns

    scenario = load(options, name)
    layout = check(scenario)
    for concern in concerns(scenario, layout):
        warn(concern)
    try:
        scenario.data.find()
    except InputError as error:  # the scenario is sound; only this machine lacks the data
        warn(f"{error.key}: {error.message}")
    print(
        f"{name}: ok: {scenario.name}, {len(layout.clients)} clients, server {layout.server}, "
        f"{len(layout.topology.links)} links"
    )
    if options.cost:
        from nmoe_sim.costing import cost_tables
        from nmoe_sim.display import print_frame

        for title, frame in cost_tables(scenario, layout).items():
            print_frame(title, frame)
