"""``nmoe-sim place``: train, then compare solvers of the placement problem."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import SCENARIO_HELP, add_command, add_scenario_options, check_folder, load

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    text = "train, then solve the placement problem and compare solvers"
    parser = add_command(commands, "place", text, _place)
    parser.add_argument("scenario", metavar="SCENARIO.yaml", help=SCENARIO_HELP)
    parser.add_argument("--solver", nargs="+", required=True, metavar="NAME", help="home, random, greedy, milp, ...")
    parser.add_argument("--out", metavar="DIR", help="write placements.csv here")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_scenario_options(parser)


def _place(options: argparse.Namespace) -> int:
    scenario = load(options, options.scenario)
    if options.out is not None:
        check_folder(Path(options.out))
    from nmoe_sim.comparison import compare_solvers
    from nmoe_sim.display import print_frame, show_progress

    with show_progress(quiet=options.quiet) as progress:
        frame = compare_solvers(scenario, options.solver, progress=progress)
    if options.out is not None:
        from nmoe_sim.results.rundir import write_text

        write_text(Path(options.out) / "placements.csv", frame.to_csv(index=False))
    print_frame("placements", frame)
    return 0 if frame["objective"].notna().any() else 1
