"""A report of one or several runs: one HTML file to look at, send around and keep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from analysis.report.page import MOST_DETAILED_RUNS, page
from analysis.report.reading import NUM_PLAYED, read_run
from analysis.report.runs import compare
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import write_text

__all__ = ["write_report"]


def write_report(run_dirs: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of finished runs.

    Parameters
    ----------
    run_dirs : sequence of paths
        One run directory, or several to compare; runs of one scenario with different seeds are
        averaged, with confidence intervals. A directory named twice counts once.
    out : path, optional
        The file; by default ``report.html`` in the run directory, or in the folder that holds all of them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If a directory holds no finished run, or ``out`` is a directory.
    """
    paths = list({Path(path).resolve(): Path(path) for path in run_dirs}.values())
    if not paths:
        raise ValueError("no run directory")
    if out is None:
        out = Path(os.path.commonpath([path.resolve() for path in paths])) if len(paths) > 1 else paths[0]
        out = out / "report.html"
    out = Path(out)
    if out.is_dir():
        raise InputError("is a directory; name a file with --out", where=str(out))
    num_played = NUM_PLAYED // min(len(paths), MOST_DETAILED_RUNS)
    runs = [read_run(path, num_played=num_played) for path in paths]
    write_text(out, page(compare(runs)))
    return out
