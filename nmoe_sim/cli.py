"""The command ``nmoe-sim``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nmoe_sim.errors import InputError, NmoeSimError
from nmoe_sim.version import __version__

if TYPE_CHECKING:
    from nmoe_sim.scenario.scenario import Scenario

INTERRUPTED = 130


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
        sub.add_argument(
            "--plugin", action="append", default=[], metavar="FILE.py", help="a Python file that registers extensions"
        )

    sub = add("run", _run, "run a scenario into a directory of tables")
    sub.add_argument("scenario", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--out", metavar="DIR", help="where results go (default: runs/NAME)")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished run of another scenario in DIR")
    sub.add_argument("--quiet", action="store_true", help="print errors and warnings only")
    add_scenario_options(sub)

    sub = add("check", _check, "validate scenarios; run nothing")
    sub.add_argument("scenario", nargs="+", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--cost", action="store_true", help="also say FLOP, bytes and memory per device")
    add_scenario_options(sub)

    sub = add("place", _place, "train, then solve the placement problem and compare solvers")
    sub.add_argument("scenario", metavar="SCENARIO.yaml", help="a file, or the name of a shipped scenario")
    sub.add_argument("--solver", nargs="+", required=True, metavar="NAME", help="home, random, greedy, milp, ...")
    sub.add_argument("--out", metavar="DIR", help="write placements.csv here")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    add_scenario_options(sub)

    add("schema", _schema, "print the JSON Schema of a scenario")
    add("scenarios", _scenarios, "list the shipped scenarios")
    return parser


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
        result = run(scenario, options.out, overwrite=options.overwrite, progress=progress)
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
