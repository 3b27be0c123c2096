"""``nmoe-sim sweep``: many variants of a scenario."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import add_command, add_plugin_option, interrupted, warn, whole_number
from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands
    from nmoe_sim.sweeps.plan import Plan

_MAX_WORKERS = 10_000
_MAX_TOLD = 5


def add(commands: Commands) -> None:
    """Add the command."""
    text = "run many variants of a scenario into one directory; again to go on"
    parser = add_command(commands, "sweep", text, _sweep)
    parser.add_argument("sweep", metavar="SWEEP.yaml", help="a file, or the name of a shipped sweep")
    parser.add_argument("--out", metavar="DIR", help="where results go; needed unless --dry-run")
    where = parser.add_mutually_exclusive_group()
    workers = whole_number(_MAX_WORKERS)
    where.add_argument("--workers", type=workers, metavar="N", help="worker processes (default: one a core)")
    where.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler, tcp://host:port, or its scheduler file")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and what they will cost; run nothing")
    parser.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    add_plugin_option(parser)


def _sweep(options: argparse.Namespace) -> int:
    if options.out is None and not options.dry_run:
        raise InputError("missing; name a directory for the results", where="--out")
    from nmoe_sim.sweeps.execute import run_sweep
    from nmoe_sim.sweeps.plan import STAGES, make_plan
    from nmoe_sim.sweeps.spec import load_sweep
    from nmoe_sim.sweeps.watch import watching

    plan = make_plan(load_sweep(options.sweep, plugins=options.plugin))
    for concern, number in plan.concerns.items():
        warn(f"in {number} of {len(plan.runs)} runs: {concern}")
    if options.dry_run:
        return _dry_run(options, plan)
    try:
        with watching(quiet=options.quiet) as watch:
            result = run_sweep(plan, options.out, workers=options.workers, cluster=options.cluster, watch=watch)
    except KeyboardInterrupt:
        return interrupted("finished runs are kept; run the same command again to go on")
    if not options.quiet:
        skipped = f", {result.num_skipped} of them before" if result.num_skipped else ""
        print(f"{plan.sweep.spec.name}: {result.num_done} of {len(plan.runs)} runs done{skipped}")
        for stage in STAGES:
            print(
                f"  {stage}: trained {result.computed[stage]} times, taken from the store {result.loaded[stage]} times"
            )
        print(f"results: {result.folder} (runs.parquet, tables/*/*.parquet), in {result.wall_time_s:.1f} s")
    for run_id, error in [*result.failed.items()][:_MAX_TOLD]:
        print(f"error: {run_id}: {' '.join(error.split())}", file=sys.stderr)
    if result.failed:
        print(f"error: {len(result.failed)} runs failed; runs.parquet has their tracebacks", file=sys.stderr)
    return 1 if result.failed else 0


def _dry_run(options: argparse.Namespace, plan: Plan) -> int:
    from nmoe_sim.display import print_frame
    from nmoe_sim.sweeps.estimate import estimate
    from nmoe_sim.sweeps.store import SweepStore, check_free

    done: set[str] = set()
    if options.out is not None:
        check_free(Path(options.out), plan)
        store = SweepStore(Path(options.out), plan)
        store.read_records()
        done = store.done()
    frame = estimate(plan, done)
    print_frame(f"{plan.sweep.spec.name}: {len(plan.runs)} runs of {plan.num_models} trained models", frame)
    todo = frame[frame["status"] != "done"]
    flop, requests = todo["training_flop"].sum(), todo["requests"].sum()
    print(f"to do: {len(todo)} runs, {flop:.3g} FLOP of training, {requests:,} requests")
    return 0
