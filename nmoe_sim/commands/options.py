"""What commands have in common: options, their types, and checks of where results go."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    from nmoe_sim.scenario.scenario import Scenario

    Commands = argparse._SubParsersAction[Any]

INTERRUPTED = 130
SCENARIO_HELP = "a file, or the name of a shipped scenario"


def add_command(
    commands: Commands, name: str, text: str, command: Callable[[argparse.Namespace], int] | None = None
) -> argparse.ArgumentParser:
    """Add a command and return its parser; without a function to call it has commands of its own."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    if command is not None:
        parser.set_defaults(command=command)
    return parser


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    """Add what changes a scenario; ``load`` reads it."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting, such as radio.bandwidth_hz=40e6",
    )
    parser.add_argument("--seed", metavar="N", help="replace the seed")
    add_plugin_option(parser)


def add_plugin_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--plugin``."""
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="a Python file that registers extensions"
    )


def load(options: argparse.Namespace, scenario: str) -> Scenario:
    """Load a scenario, a file or the name of a shipped one, changed by the options."""
    from nmoe_sim.families import load_scenario
    from nmoe_sim.scenario import Override
    from nmoe_sim.shipped import resolve

    overrides = [Override.from_option(argument) for argument in options.set]
    if options.seed is not None:
        overrides.append(Override("seed", options.seed, f"--seed {options.seed}"))
    return load_scenario(resolve(scenario), overrides=overrides, plugins=options.plugin)


def interrupted(what: str) -> int:
    """Print what is left of the work and how it goes on; returns the exit status."""
    print(f"interrupted: {what}", file=sys.stderr)
    return INTERRUPTED


def warn(message: object) -> None:
    """Print a warning."""
    print(f"warning: {message}", file=sys.stderr)


# --- types of options ----------------------------------------------------------------------------------


def whole_number(most: int | None = None) -> Callable[[str], int]:
    """Return the type of a whole number from 1, up to ``most`` if that is given."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
            limit = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number from 1{limit}, got {text!r}")
        return int(text)

    return convert


def seconds(text: str) -> float:
    """Return a finite number of seconds."""
    return _number(text, "must be a number of seconds")


def metres(text: str) -> float:
    """Return a finite number of metres above 0."""
    return _number(text, "must be a number of metres above 0", lambda number: number > 0)


def _number(text: str, rule: str, holds: Callable[[float], bool] = lambda _: True) -> float:
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not (isfinite(number) and holds(number)):
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return number


# --- where results go ----------------------------------------------------------------------------------


def check_file(path: Path, endings: Sequence[str]) -> None:
    """Refuse an output file of another kind or that can't be made, before the work that would fill it."""
    if path.suffix not in endings:
        raise InputError(f"must end in {', '.join(endings)}, which says what is written", where=f"--out {path}")
    if path.is_dir():
        raise InputError("is a directory; name a file", where=f"--out {path}")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Refuse an output folder that can't be made, before the work that would fill it."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists() or folder.is_symlink())
    if not existing.is_dir():
        raise InputError(f"'{existing}' is not a directory; choose another --out", where=str(path))
    if not os.access(existing, os.W_OK):
        raise InputError(f"'{existing}' can't be written; choose another --out", where=str(path))
