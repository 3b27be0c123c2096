"""``nmoe-sim report`` and ``nmoe-sim trace``: what finished runs look like."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import add_command, seconds, warn, whole_number

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands


def add(commands: Commands) -> None:
    """Add the commands."""
    parser = add_command(commands, "report", "write one self-contained report.html about finished runs", _report)
    parser.add_argument("run_dir", nargs="+", metavar="RUN_DIR", help="directory of a finished run; several to compare")
    parser.add_argument("--out", metavar="FILE", help="the file (default: RUN_DIR/report.html, or beside several runs)")

    parser = add_command(commands, "trace", "write a trace of a finished run that a trace viewer opens", _trace)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="directory of a finished run")
    parser.add_argument("--out", metavar="FILE", help="the file (default: RUN_DIR/trace.json)")
    parser.add_argument("--from-s", type=seconds, metavar="T", help="leave out what ends before this simulated time")
    parser.add_argument("--to-s", type=seconds, metavar="T", help="leave out what begins after this simulated time")
    parser.add_argument(
        "--max-events", type=whole_number(), metavar="N", help="most requests, jobs and hops (default: 200000)"
    )


def _report(options: argparse.Namespace) -> int:
    from analysis.report import write_report

    print(f"report: {write_report(options.run_dir, options.out)}")
    return 0


def _trace(options: argparse.Namespace) -> int:
    from analysis.trace import MAX_EVENTS, write_trace

    most = MAX_EVENTS if options.max_events is None else options.max_events
    trace = write_trace(options.run_dir, options.out, from_s=options.from_s, to_s=options.to_s, max_events=most)
    print(f"trace: {trace.path} ({trace.num_slices:,} requests, jobs and hops); open it at https://ui.perfetto.dev")
    if trace.num_left_out:
        why = "the most events" if trace.cut else "the window"
        warn(
            f"{trace.num_left_out:,} requests, jobs and hops are left out by {why}: the trace begins at "
            f"{trace.from_s:g} s and ends at {trace.to_s:g} s; choose with --from-s, --to-s and --max-events"
        )
    return 0
