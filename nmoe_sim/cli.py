"""The command ``nmoe-sim``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nmoe_sim.data_commands import add_data_commands
from nmoe_sim.errors import InputError, NmoeSimError
from nmoe_sim.version import __version__

if TYPE_CHECKING:
    from nmoe_sim.scenario.scenario import Scenario
    from nmoe_sim.sweeps.plan import Plan

INTERRUPTED = 130
_MAX_WORKERS = 10_000
_MAX_TOLD = 5
_FIGURES = (".png", ".svg", ".pdf")
_TABLES = (".csv", ".parquet")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; see '{self.prog} --help'\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return command(options)
    except NmoeSimError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted: what was written has no manifest.json; run again", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except (MemoryError, OSError) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "allocate" not in str(error):  # torch says so when memory runs out
            raise
        print(f"error: not enough memory: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nmoe-sim",
        description="Co-simulate a networked mixture of experts on a wireless edge network.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nmoe-sim {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=command)
        return sub

    def add_scenario_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="replace a setting, such as radio.bandwidth_hz=40e6",
        )
        sub.add_argument("--seed", metavar="N", help="replace the seed")
        add_plugin_option(sub)

    def add_plugin_option(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--plugin", action="append", default=[], metavar="FILE.py", help="a Python file that registers extensions"
        )

    sub = add("run", _run, "run a scenario into a directory of tables")
    sub.add_argument("scenario", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished run of another scenario in DIR")
    sub.add_argument("--resume", action="store_true", help="go on where a run of the same scenario was interrupted")
    sub.add_argument("--tensorboard", action="store_true", help="also write TensorBoard event files into DIR")
    sub.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    add_scenario_options(sub)

    sub = add("check", _check, "validate scenarios; run nothing")
    sub.add_argument("scenario", nargs="+", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--cost", action="store_true", help="also say FLOP, bytes and memory per device")
    add_scenario_options(sub)

    sub = add("coverage", _coverage, "map what the radio gives at every place; run nothing")
    sub.add_argument("scenario", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument(
        "--out", metavar="FILE", help="the map as a figure (.png, .svg, .pdf) or its values (.csv, .parquet)"
    )
    sub.add_argument(
        "--resolution",
        type=_metres,
        metavar="M",
        help="distance of neighbouring points in metres (default: a hundredth of the longer side)",
    )
    add_scenario_options(sub)

    sub = add("place", _place, "train, then solve the placement problem and compare solvers")
    sub.add_argument("scenario", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--solver", nargs="+", required=True, metavar="NAME", help="home, random, greedy, milp, ...")
    sub.add_argument("--out", metavar="DIR", help="write placements.csv here")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    add_scenario_options(sub)

    sub = add("sweep", _sweep, "run many variants of a scenario into one directory; again to go on")
    sub.add_argument("sweep", metavar="SWEEP.yaml", help="a file, or the name of a shipped sweep")
    sub.add_argument("--out", metavar="DIR", help="where results go; needed unless --dry-run")
    where = sub.add_mutually_exclusive_group()
    where.add_argument("--workers", type=_count, metavar="N", help="worker processes (default: one a core)")
    where.add_argument("--cluster", metavar="ADDRESS", help="a Dask scheduler, tcp://host:port, or its scheduler file")
    sub.add_argument("--dry-run", action="store_true", help="list the runs and what they will cost; run nothing")
    sub.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    add_plugin_option(sub)

    sub = add("report", _report, "write one self-contained report.html about finished runs")
    sub.add_argument("run_dir", nargs="+", metavar="RUN_DIR", help="directory of a finished run; several to compare")
    sub.add_argument("--out", metavar="FILE", help="the file (default: RUN_DIR/report.html, or beside several runs)")

    sub = add("trace", _trace, "write a trace of a finished run that a trace viewer opens")
    sub.add_argument("run_dir", metavar="RUN_DIR", help="directory of a finished run")
    sub.add_argument("--out", metavar="FILE", help="the file (default: RUN_DIR/trace.json)")
    sub.add_argument("--from-s", type=_seconds, metavar="T", help="leave out what ends before this simulated time")
    sub.add_argument("--to-s", type=_seconds, metavar="T", help="leave out what begins after this simulated time")
    sub.add_argument(
        "--max-events", type=_num_events, metavar="N", help="most requests, jobs and hops (default: 200000)"
    )

    text = "list data sets and fetch them"
    add_data_commands(commands.add_parser("data", help=text, description=text, allow_abbrev=False), add_plugin_option)
    add("schema", _schema, "print the JSON Schema of a scenario")
    add("scenarios", _scenarios, "list the shipped scenarios")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MAX_WORKERS}, got {text!r}")
    return int(text)


def _load(options: argparse.Namespace, scenario: str) -> Scenario:
    from nmoe_sim.families import load_scenario
    from nmoe_sim.scenario import Override
    from nmoe_sim.shipped import resolve

    overrides = [Override.from_option(argument) for argument in options.set]
    if options.seed is not None:
        overrides.append(Override("seed", options.seed, f"--seed {options.seed}"))
    return load_scenario(resolve(scenario), overrides=overrides, plugins=options.plugin)


def _run(options: argparse.Namespace) -> int:
    scenario = _load(options, options.scenario)
    from nmoe_sim.display import key_figures, show_progress
    from nmoe_sim.runner import run

    with show_progress(quiet=options.quiet) as progress:
        result = run(scenario, options.out, overwrite=options.overwrite, resume=options.resume, progress=progress)
    if options.tensorboard:
        from analysis.tensorboard import write_events

        write_events(result)
    if not options.quiet:
        key_figures(result)
    return 0


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

    scenario = _load(options, name)
    layout = check(scenario)
    for concern in concerns(scenario, layout):
        _show_warning(concern)
    try:
        scenario.data.find()
    except InputError as error:  # the scenario is sound; only this machine lacks the data
        _show_warning(f"{error.key}: {error.message}")
    print(
        f"{name}: ok: {scenario.name}, {len(layout.clients)} clients, server {layout.server}, "
        f"{len(layout.topology.links)} links"
    )
    if options.cost:
        from nmoe_sim.costing import cost_tables
        from nmoe_sim.display import print_frame

        for title, frame in cost_tables(scenario, layout).items():
            print_frame(title, frame)


def _coverage(options: argparse.Namespace) -> int:
    out = None if options.out is None else Path(options.out)
    if out is not None:
        _check_file(out, _FIGURES + _TABLES)
    scenario = _load(options, options.scenario)
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


def _place(options: argparse.Namespace) -> int:
    scenario = _load(options, options.scenario)
    if options.out is not None:
        _check_folder(Path(options.out))
    from nmoe_sim.comparison import compare_solvers
    from nmoe_sim.display import print_frame, show_progress

    with show_progress(quiet=options.quiet) as progress:
        frame = compare_solvers(scenario, options.solver, progress=progress)
    if options.out is not None:
        from nmoe_sim.results.rundir import write_text

        write_text(Path(options.out) / "placements.csv", frame.to_csv(index=False))
    print_frame("placements", frame)
    return 0 if frame["objective"].notna().any() else 1


def _sweep(options: argparse.Namespace) -> int:
    if options.out is None and not options.dry_run:
        raise InputError("missing; name a directory for the results", where="--out")
    from nmoe_sim.sweeps.execute import run_sweep
    from nmoe_sim.sweeps.plan import STAGES, make_plan
    from nmoe_sim.sweeps.spec import load_sweep
    from nmoe_sim.sweeps.watch import watching

    plan = make_plan(load_sweep(options.sweep, plugins=options.plugin))
    for concern, number in plan.concerns.items():
        _show_warning(f"in {number} of {len(plan.runs)} runs: {concern}")
    if options.dry_run:
        return _dry_run(options, plan)
    try:
        with watching(quiet=options.quiet) as watch:
            result = run_sweep(plan, options.out, workers=options.workers, cluster=options.cluster, watch=watch)
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept; run the same command again to go on", file=sys.stderr)
        return INTERRUPTED
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
        _show_warning(
            f"{trace.num_left_out:,} requests, jobs and hops are left out by {why}: the trace begins at "
            f"{trace.from_s:g} s and ends at {trace.to_s:g} s; choose with --from-s, --to-s and --max-events"
        )
    return 0


def _seconds(text: str) -> float:
    return _number(text, "must be a number of seconds")


def _metres(text: str) -> float:
    return _number(text, "must be a number of metres above 0", lambda metres: metres > 0)


def _number(text: str, rule: str, holds: Callable[[float], bool] = lambda _: True) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not (isfinite(number) and holds(number)):
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return number


def _num_events(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def _check_file(path: Path, endings: Sequence[str]) -> None:
    """Refuse an output file of another kind or that can't be made, before the work that would fill it."""
    if path.suffix not in endings:
        raise InputError(f"must end in {', '.join(endings)}, which says what is written", where=f"--out {path}")
    if path.is_dir():
        raise InputError("is a directory; name a file", where=f"--out {path}")
    _check_folder(path.parent)


def _check_folder(path: Path) -> None:
    """Refuse an output folder that can't be made, before the work that would fill it."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists() or folder.is_symlink())
    if not existing.is_dir():
        raise InputError(f"'{existing}' is not a directory; choose another --out", where=str(path))
    if not os.access(existing, os.W_OK):
        raise InputError(f"'{existing}' can't be written; choose another --out", where=str(path))


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


if __name__ == "__main__":
    sys.exit(main())
