"""A run's learning curves as TensorBoard event files.

Scalars are ``metrics`` by stage, metric and split, and the mean of ``rounds`` over clients: loss, share of clients
that took part, bytes. The step is the round; an event's wall time is the simulated time in seconds since 1970, so
that TensorBoard's relative axis shows simulated time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import RunResult

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

_ROUND_SCALARS = {"loss": "mean", "participated": "mean", "bytes_up": "sum", "bytes_down": "sum"}


def write_events(run: RunResult, folder: str | Path | None = None) -> Path:
    """Write the event file of a finished run; files of an earlier writing are replaced.

    Parameters
    ----------
    run : RunResult
    folder : str or Path, optional
        Where the file goes; ``tensorboard`` in the run's directory by default. Point ``tensorboard --logdir`` at it.

    Raises
    ------
    InputError
        If the package tensorboardX isn't installed, or the folder can't be written.
    """
    make_writer = summary_writer()
    folder = run.path / "tensorboard" if folder is None else Path(folder)
    try:
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        writer = make_writer(str(folder))
    except OSError as error:
        raise InputError(f"can't be written: {error.strerror}; choose another folder", where=str(folder)) from error
    with writer:
        _add_metrics(writer, run.tables["metrics"])
        _add_rounds(writer, run.tables["rounds"])
    return folder


def summary_writer() -> type[SummaryWriter]:
    """Return the class that writes event files; raises InputError if the package tensorboardX isn't installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard files need the package tensorboardX; run pip install 'nmoe-sim[tensorboard]'",
            where="--tensorboard",
        ) from error
    writer: type[SummaryWriter] = SummaryWriter
    return writer


def _add_metrics(writer: SummaryWriter, metrics: pd.DataFrame) -> None:
    """Write the means over clients."""
    means = metrics[metrics["client"].isna()].sort_values("t_s", kind="stable")
    columns = [means[name].tolist() for name in ("stage", "metric", "split", "t_s", "value")]
    for step, stage, metric, split, t_s, value in zip(means["round"].fillna(0).tolist(), *columns, strict=True):
        writer.add_scalar(f"{stage}/{metric}/{split}", value, step, walltime=t_s)


def _add_rounds(writer: SummaryWriter, rounds: pd.DataFrame) -> None:
    """Write every round's loss, participation and bytes."""
    by_round = rounds.groupby(["stage", "round"])
    ends_s = by_round["t_end_s"].max().tolist()
    for column, how in _ROUND_SCALARS.items():
        values = by_round[column].agg(how)
        for (stage, number), value, t_s in zip(values.index.tolist(), values.tolist(), ends_s, strict=True):
            if pd.notna(value):
                writer.add_scalar(f"{stage}/round/{column}", float(value), number, walltime=t_s)
