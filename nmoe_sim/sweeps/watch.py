"""Live view of a sweep, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from nmoe_sim.sweeps.plan import Run

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Watch:
    """Shows nothing; subclasses override what they show."""

    def begin(self, num_runs: int, num_done: int) -> None:
        """Take note of the number of runs, and of those done before."""

    def started(self, run: Run) -> None:
        """Take note of a run under way."""

    def finished(self, run: Run, error: str | None) -> None:
        """Take note of a run that is done, or of why it failed."""

    def lost(self, run: Run, error: str, wait_s: float) -> None:
        """Take note of a run whose worker died, and of the wait until it is tried again."""


class Lines(Watch):
    """A line for each run that ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._num_runs = self._num_over = 0

    def begin(self, num_runs: int, num_done: int) -> None:
        """See ``Watch``."""
        self._num_runs, self._num_over = num_runs, num_done
        if num_done:
            self._say(f"{num_done} of {num_runs} runs are done already")

    def finished(self, run: Run, error: str | None) -> None:
        """See ``Watch``."""
        self._num_over += 1
        how = "done" if error is None else f"failed: {error}"
        self._say(f"[{self._num_over}/{self._num_runs}] {run.run_id} {run.label}: {how}")

    def lost(self, run: Run, error: str, wait_s: float) -> None:
        """See ``Watch``."""
        self._say(f"{run.run_id}: {error}; once more in {wait_s:g} s")

    def _say(self, text: str) -> None:
        self._stream.write(f"{' '.join(text.split())}\n")
        self._stream.flush()


class Bars(Watch):
    """A bar for the sweep, a line for each run under way, and what went wrong above them."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._lines: dict[str, TaskID] = {}
        self._num_failed = 0

    def begin(self, num_runs: int, num_done: int) -> None:
        """See ``Watch``."""
        self._whole = self._bars.add_task("sweep", total=num_runs, completed=num_done)

    def started(self, run: Run) -> None:
        """See ``Watch``."""
        from rich.markup import escape

        self._lines[run.run_id] = self._bars.add_task(f"  {escape(run.label)}", total=None)

    def finished(self, run: Run, error: str | None) -> None:
        """See ``Watch``."""
        self._bars.remove_task(self._lines.pop(run.run_id))
        self._bars.advance(self._whole)
        if error is not None:
            self._num_failed += 1
            self._bars.update(self._whole, description=f"sweep, {self._num_failed} failed")
            self._bars.console.print(f"{run.run_id} {run.label}: failed: {error}", markup=False)

    def lost(self, run: Run, error: str, wait_s: float) -> None:
        """See ``Watch``."""
        self._bars.remove_task(self._lines.pop(run.run_id))
        self._bars.console.print(f"{run.run_id}: {error}; once more in {wait_s:g} s", markup=False)


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watch]:
    """Return the view that fits stderr: bars on a terminal, lines elsewhere."""
    if quiet:
        yield Watch()
    elif not sys.stderr.isatty():
        yield Lines(sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            yield Bars(bars)
