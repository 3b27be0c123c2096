"""The command ``nmoe-sim``: its parser, and what becomes of errors. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from nmoe_sim.commands import check, coverage, data, listing, place, results, run, sweep
from nmoe_sim.commands.options import interrupted, warn
from nmoe_sim.errors import NmoeSimError
from nmoe_sim.version import __version__


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
        return interrupted("what was written has no manifest.json; run again")
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
    warn(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="nmoe-sim",
        description="Co-simulate a networked mixture of experts on a wireless edge network.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nmoe-sim {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (run, check, coverage, place, sweep, results, data, listing):
        module.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
