"""What an accuracy costs: time, joules and bytes of training until it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Tables = Mapping[str, pd.DataFrame]


def training_energy_j(tables: Tables, t_s: ArrayLike, *, idle: bool = False) -> NDArray[np.float64]:
    """Return the energy that training has drawn by some times, over all devices.

    E(t) = Σ e · clip((t − t_start) / (t_end − t_start), 0, 1) over jobs and hops of training (with expert moves),
    e being ``energy_j`` of a job and ``tx_energy_j + rx_energy_j`` of a hop. For jobs this is exact; a hop's energy
    is spread evenly over its time on air, which is exact for a medium to itself.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``compute`` and ``transfers`` of a run; with ``idle``, ``devices``.
    t_s : array_like [T]
    idle : bool
        Add the idle power of every device.

    Returns
    -------
    ndarray of float64 [T]
    """
    times_s = np.asarray(t_s, np.float64)
    jobs, hops = _training(tables["compute"]), _training(tables["transfers"])
    drawn_j = _until(jobs, jobs["energy_j"], times_s)
    drawn_j += _until(hops, hops["tx_energy_j"] + hops["rx_energy_j"], times_s)
    if idle:
        drawn_j += float(tables["devices"]["idle_w"].sum()) * times_s
    return drawn_j


def training_bytes(tables: Tables, t_s: ArrayLike) -> NDArray[np.float64]:
    """Return the bytes that training has sent by some times, counted on every hop; see ``training_energy_j``."""
    hops = _training(tables["transfers"])
    return _until(hops, hops["bytes_sent"], np.asarray(t_s, np.float64))


def learning_curve(
    tables: Tables, metric: str = "accuracy_nmoe", *, split: str = "global", client: str | None = None
) -> pd.DataFrame:
    """Return a metric against what training had cost by then.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``metrics``, ``compute`` and ``transfers`` of a run.
    metric : str
        Such as ``accuracy_nmoe``.
    split : {"global", "local"}
    client : str, optional
        Whose; by default the mean over clients.

    Returns
    -------
    DataFrame
        One row a measurement, by time: ``stage``, ``round``, ``t_s``, ``value``, ``energy_j`` (idle not in it),
        ``n_bytes``.

    Raises
    ------
    ValueError
        If the run didn't measure it.
    """
    rows = tables["metrics"]
    mine = rows["client"].isna() if client is None else rows["client"] == client
    rows = rows[(rows["metric"] == metric) & (rows["split"] == split) & mine]
    if rows.empty:
        known = sorted(set(tables["metrics"]["metric"]))
        raise ValueError(f"no {metric!r} of split {split!r} and client {client!r}; metrics are {', '.join(known)}")
    curve = rows.sort_values("t_s", kind="stable", ignore_index=True)[["stage", "round", "t_s", "value"]]
    t_s = curve["t_s"].to_numpy(np.float64)
    return curve.assign(energy_j=training_energy_j(tables, t_s), n_bytes=training_bytes(tables, t_s))


def time_to_accuracy(tables: Tables, target: float, metric: str = "accuracy_nmoe", **which: Any) -> float | None:
    """Return the simulated time at which a measurement first reaches a target; None if none does.

    Measurements are made at the ends of rounds, so the answer is late by up to the time between two of them.

    Parameters
    ----------
    tables : mapping of str to DataFrame
    target : float
    metric, **which
        As for ``learning_curve``.
    """
    return _first(learning_curve(tables, metric, **which), target, "t_s")


def joules_to_accuracy(
    tables: Tables, target: float, metric: str = "accuracy_nmoe", *, idle: bool = False, **which: Any
) -> float | None:
    """Return the training energy drawn when a measurement first reaches a target; None if none does.

    Parameters
    ----------
    tables : mapping of str to DataFrame
    target : float
    metric, **which
        As for ``learning_curve``.
    idle : bool
        Count the idle power of every device too.
    """
    t_s = time_to_accuracy(tables, target, metric, **which)
    return None if t_s is None else float(training_energy_j(tables, t_s, idle=idle))


def bytes_to_accuracy(tables: Tables, target: float, metric: str = "accuracy_nmoe", **which: Any) -> float | None:
    """Return the bytes that training has sent, on every hop, when a measurement first reaches a target.

    Parameters
    ----------
    tables : mapping of str to DataFrame
    target : float
    metric, **which
        As for ``learning_curve``.

    Returns
    -------
    float or None
        None if no measurement reaches it.
    """
    return _first(learning_curve(tables, metric, **which), target, "n_bytes")


def costs_to_accuracy(
    tables: Tables, targets: Mapping[str, float], metric: str = "accuracy_nmoe", **which: Any
) -> pd.DataFrame:
    """Return what each run of a sweep had cost when it first reached its target.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Tables of a sweep, with a column ``run_id``: ``metrics``, ``compute``, ``transfers``, ``devices``.
    targets : mapping of str to float
        Target of each run, by its id; the runs that are wanted.
    metric, **which
        As for ``learning_curve``.

    Returns
    -------
    DataFrame
        One row a run, in the order of ``targets``: ``run_id``, ``target``, ``time_s``, ``energy_j``,
        ``energy_with_idle_j``, ``n_bytes``; null where the run never reaches it.
    """
    by_run = {
        name: dict(list(tables[name].groupby("run_id"))) for name in ("metrics", "compute", "transfers", "devices")
    }
    rows = []
    for run_id, target in targets.items():
        mine = {name: runs.get(run_id, tables[name].iloc[:0]) for name, runs in by_run.items()}
        t_s = time_to_accuracy(mine, target, metric, **which)
        at_s = np.nan if t_s is None else t_s
        found = {
            "time_s": at_s,
            "energy_j": training_energy_j(mine, at_s),
            "energy_with_idle_j": training_energy_j(mine, at_s, idle=True),
            "n_bytes": training_bytes(mine, at_s),
        }
        reached = {name: np.nan if t_s is None else np.asarray(value).item() for name, value in found.items()}
        rows.append({"run_id": run_id, "target": target, **reached})
    return pd.DataFrame(rows)


def _first(curve: pd.DataFrame, target: float, column: str) -> float | None:
    reached = curve.loc[curve["value"] >= target, column]
    return float(reached.iloc[0]) if len(reached) else None


def _training(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["stage"].notna()]


def _until(rows: pd.DataFrame, amount: pd.Series[Any], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of the rows' amounts had come by some times [T], each spread evenly over its row's time."""
    start_s, end_s = rows["t_start_s"].to_numpy(np.float64), rows["t_end_s"].to_numpy(np.float64)
    amounts, length_s = amount.to_numpy(np.float64), end_s - start_s
    drawn = np.empty(np.shape(t_s))
    for k, time_s in np.ndenumerate(t_s):
        share = (end_s <= time_s).astype(np.float64)  # what is over, and what takes no time, is whole
        part = (start_s < time_s) & (time_s < end_s)
        share[part] = (time_s - start_s[part]) / length_s[part]
        drawn[k] = amounts @ share
    return drawn
