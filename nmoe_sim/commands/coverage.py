"""``nmoe-sim coverage``: what the radio gives at every place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import SCENARIO_HELP, add_command, add_scenario_options, check_file, load, metres

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands

_FIGURES = (".png", ".svg", ".pdf")
_TABLES = (".csv", ".parquet")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "coverage", "map what the radio gives at every place; run nothing", _coverage)
    parser.add_argument("scenario", metavar="SCENARIO.yaml", help=SCENARIO_HELP)
    parser.add_argument(
        "--out", metavar="FILE", help="the map as a figure (.png, .svg, .pdf) or its values (.csv, .parquet)"
    )
    parser.add_argument(
        "--resolution",
        type=metres,
        metavar="M",
        help="distance of neighbouring points in metres (default: a hundredth of the longer side)",
    )
    add_scenario_options(parser)


def _coverage(options: argparse.Namespace) -> int:
    out = None if options.out is None else Path(options.out)
    if out is not None:
        check_file(out, _FIGURES + _TABLES)
    scenario = load(options, options.scenario)
    from nmoe_sim.checks import check
    from nmoe_sim.coverage import coverage_map, node_table, quantiles, write_map
    from nmoe_sim.display import print_frame

    layout = check(scenario)
    frame = coverage_map(scenario, resolution_m=options.resolution, layout=layout)
    print_frame(f"{scenario.name}, seed {scenario.seed}: {len(frame):,} points at full load", quantiles(frame))
    print(f"SINR below 0 dB: {(frame['sinr_db'] < 0).mean():.1%} of the area")
    if (unserved := frame["station"].isna().mean()) > 0:
        print(f"out of reach: {unserved:.1%} of the area")
    if out is None:
        print("save the map with --out FILE.png (or .svg, .pdf), its values with --out FILE.csv (or .parquet)")
        return 0
    if out.suffix in _FIGURES:
        from analysis import figures

        figures.save(figures.sinr_map(frame, node_table(scenario, layout=layout)), out)
    else:
        write_map(frame, out)
    print(f"coverage: {out}")
    return 0
