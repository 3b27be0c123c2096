"""``nmoe-sim run``: a scenario, into a directory of tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import SCENARIO_HELP, add_command, add_scenario_options, interrupted, load

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "run", "run a scenario into a directory of tables", _run)
    parser.add_argument("scenario", metavar="SCENARIO.yaml", help=SCENARIO_HELP)
    parser.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished run of another scenario in DIR")
    parser.add_argument("--resume", action="store_true", help="go on where a run of the same scenario was interrupted")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard event files into DIR")
    parser.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    add_scenario_options(parser)


def _run(options: argparse.Namespace) -> int:
    scenario = load(options, options.scenario)
    from nmoe_sim.display import key_figures, show_progress
    from nmoe_sim.runner import run

    if options.tensorboard:
        from analysis.tensorboard import summary_writer, write_events

        summary_writer()  # its package may be missing, and the run is long
    try:
        with show_progress(quiet=options.quiet) as progress:
            result = run(scenario, options.out, overwrite=options.overwrite, resume=options.resume, progress=progress)
    except KeyboardInterrupt:
        return interrupted("what training has stored is kept; go on with --resume")
    if options.tensorboard:
        write_events(result)
    if not options.quiet:
        key_figures(result)
    return 0
