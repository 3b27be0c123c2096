"""What the command line shows: progress on stderr, tables on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from nmoe_sim.training.learning import Progress, no_progress

if TYPE_CHECKING:
    import pandas as pd

    from nmoe_sim.results.rundir import RunResult

_WIDTH = 400
_REFRESH_S = 0.1


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Progress]:
    """Show a bar with the time left for each part of a run, where stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield no_progress
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:

        @contextmanager
        def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
            task = bars.add_task(label, total=total)
            done, shown_s = 0, 0.0

            def advance() -> None:
                nonlocal done, shown_s
                done += 1
                now_s = time.monotonic()
                if now_s - shown_s > _REFRESH_S:
                    bars.update(task, completed=done)
                    shown_s = now_s

            yield advance
            bars.update(task, completed=done)

        yield progress


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def print_frame(title: str, frame: pd.DataFrame) -> None:
    """Print a data frame as a table."""
    from pandas.api.types import is_numeric_dtype

    table = Table(title=title, title_justify="left", box=SIMPLE)
    for name in frame.columns:
        table.add_column(str(name), justify="right" if is_numeric_dtype(frame[name]) else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*("" if _is_null(value) else _text(value) for value in row))
    _console().print(table)


def _is_null(value: Any) -> bool:
    return value is None or value != value


def _text(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def key_figures(result: RunResult) -> None:
    """Print a run's key figures and where its results are."""
    summary, metrics = result.summary, result.tables["metrics"]
    final = metrics[(metrics["stage"] == "final") & metrics["client"].isna()]
    accuracy = {(row.metric, row.split): row.value for row in final.itertuples()}
    title = f"{summary['scenario']}, seed {summary['seed']}, run {summary['run_id']}"
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("global", justify="right")
    table.add_column("local", justify="right")
    for metric, label in (
        ("accuracy_nmoe", "accuracy, networked mixture"),
        ("accuracy_own_expert", "accuracy, own expert only"),
        ("accuracy_all_experts", "accuracy, all experts"),
        ("accuracy_random_expert", "accuracy, random expert"),
        ("accuracy_best_expert", "accuracy, best single expert a sample (oracle)"),
    ):
        table.add_row(label, *(_text(accuracy.get((metric, split), "-")) for split in ("global", "local")))
    _console().print(table)
    figures = Table(show_header=False)
    figures.add_column("figure")
    figures.add_column("value", justify="right")
    for label, key, scale, unit in (
        ("requests completed", "completed_ratio", 100, "%"),
        ("accuracy of answers served", "accuracy_served", 100, "%"),
        ("latency p50", "latency_p50_s", 1e3, "ms"),
        ("latency p95", "latency_p95_s", 1e3, "ms"),
        ("latency p99", "latency_p99_s", 1e3, "ms"),
        ("deadline met", "deadline_met_ratio", 100, "%"),
        ("energy per request", "energy_per_request_j", 1e3, "mJ"),
        ("energy in all, idle included", "energy_total_j", 1e-3, "kJ"),
        ("bytes moved in training", "bytes_training", 1e-6, "MB"),
        ("bytes moved in inference", "bytes_inference", 1e-6, "MB"),
        ("simulated training time", "training_time_s", 1, "s"),
    ):
        value = summary[key]
        figures.add_row(label, "-" if value is None else f"{scale * value:,.3f} {unit}")
    _console().print(figures)
    print(f"results: {result.path} (tables/*.parquet, summary.json, manifest.json)")  # noqa: T201
