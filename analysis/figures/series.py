"""What the figures show, as numbers: each function turns the tables of a run into what is drawn.

Figures for print (``analysis.figures``) and the interactive report (``analysis.report``) draw the same
numbers, from here. Every function is deterministic; down-sampling keeps quantiles, never random rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Tables = Mapping[str, pd.DataFrame]
Array = NDArray[np.float64]
Against = Literal["round", "time", "bytes", "joules"]

COMPONENTS = ("compute", "tx", "rx", "idle")
"""Components of the table ``energy``, in the order they are stacked."""


def cdf(latency_s: ArrayLike, num_points: int = 512) -> tuple[Array, Array]:
    """Return points of the empirical distribution function of all requests, answered or not.

    A request without an answer (null) counts as one that takes for ever, so the curve ends at the
    share of answered requests: dropping slow requests makes no policy look fast.

    Parameters
    ----------
    latency_s : array of float, shape (R,)
        Latency of each request in seconds, NaN where there is none.
    num_points : int
        Most points returned. With more requests the curve is drawn through quantiles, half of them
        evenly spaced, half ever denser towards the tail.

    Returns
    -------
    x_s, share : arrays of float, shape (P,)
        ``share[p]`` of the requests took at most ``x_s[p]``.
    """
    everything = np.asarray(latency_s, dtype=np.float64)
    answered = np.sort(everything[~np.isnan(everything)])
    count, total = len(answered), len(everything)
    if count <= num_points:
        return answered, np.arange(1, count + 1) / max(total, 1)
    half = num_points // 2
    tail = 1.0 - np.geomspace(1.0, 1.0 / count, half)
    ranks = np.unique(np.ceil(np.concatenate([np.linspace(0.0, 1.0, num_points - half), tail]) * count).clip(1))
    return answered[ranks.astype(np.int64) - 1], ranks / total


def energy_by_device(tables: Tables, phase: str | None = None) -> pd.DataFrame:
    """Return the energy of each device by component.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``energy`` and ``devices`` of a run.
    phase : str, optional
        ``training`` or ``inference``; both when left out.

    Returns
    -------
    DataFrame
        Joules; one row a device, in the order of ``devices``, columns ``compute tx rx idle``.
    """
    energy = tables["energy"]
    if phase is not None:
        energy = energy[energy["phase"] == phase]
    table = energy.pivot_table(index="device", columns="component", values="energy_j", aggfunc="sum", fill_value=0.0)
    return table.reindex(index=list(tables["devices"]["device"]), columns=list(COMPONENTS), fill_value=0.0)


def expert_use(tables: Tables) -> pd.DataFrame:
    """Return how often each client asked each expert.

    Returns
    -------
    DataFrame
        Number of requests; one row a client, one column an expert, both in order.
    """
    requests, num_experts = tables["requests"], int(tables["placement"]["expert"].max()) + 1
    owners = list(dict.fromkeys(tables["placement"].sort_values("expert")["owner"]))
    clients = list(dict.fromkeys([*owners, *sorted(requests["client"].unique())]))
    row_of = pd.Series(np.arange(len(clients)), index=clients)
    asked = requests["experts"].to_numpy()
    lengths = np.fromiter((len(experts) for experts in asked), dtype=np.int64, count=len(asked))
    rows = np.repeat(requests["client"].map(row_of).to_numpy(dtype=np.int64), lengths)
    columns = np.concatenate([np.zeros(0, dtype=np.int64), *asked]).astype(np.int64)
    counts = np.bincount(rows * num_experts + columns, minlength=len(clients) * num_experts)
    return pd.DataFrame(counts.reshape(len(clients), num_experts), index=clients, columns=range(num_experts))


def samples_held(tables: Tables, split: str = "train") -> pd.DataFrame:
    """Return how many samples of each class every client holds.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``partition`` of a run.
    split : str
        ``train``, or ``test`` for the local test sets.

    Returns
    -------
    DataFrame
        Number of samples; one row a client, in the run's order, one column a class.
    """
    return tables["partition"].pivot_table(
        index="client", columns="label", values=f"num_{split}", aggfunc="sum", sort=False, fill_value=0
    )


def client_names(tables: Tables) -> dict[str, str]:
    """Return the name of each client with how its images look beside it, where they look different."""
    clients = tables["partition"].drop_duplicates("client")
    return {
        client: client if pd.isna(skew) else f"{client} ({skew})"
        for client, skew in zip(clients["client"], clients["feature_skew"], strict=True)
    }


def link_sinr(tables: Tables) -> pd.DataFrame:
    """Return the median SINR of each link over its sampled coherence blocks, with its two ends.

    Returns
    -------
    DataFrame
        ``src dst medium sinr_db src_x_m src_y_m dst_x_m dst_y_m``; devices are where they were first.
    """
    where = tables["positions"].drop_duplicates("device").set_index("device")[["x_m", "y_m"]]
    links = tables["links"].groupby(["src", "dst", "medium"], as_index=False)["sinr_db"].median()
    ends: pd.DataFrame = links.join(where.add_prefix("src_"), on="src").join(where.add_prefix("dst_"), on="dst")
    return ends


def radio_hops(tables: Tables, phase: Literal["training", "inference"] | None = None) -> pd.DataFrame:
    """Return the hops of a run that went by radio and what they found on the air.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``transfers`` and ``devices`` of a run.
    phase : str, optional
        ``training`` or ``inference``; both when left out.

    Returns
    -------
    DataFrame
        One row a hop, delivered or not: ``direction`` (``uplink``, ``downlink`` or ``sidelink``, by its ends, so also
        where they share a band), ``sinr_db``, ``mean_rate_bps``.
    """
    hops = tables["transfers"]
    by_radio = hops["sinr_db"].notna()
    if phase is not None:
        by_radio &= hops["stage"].isna() == (phase == "inference")
    hops = hops[by_radio]
    stations = tables["devices"].loc[tables["devices"]["kind"] == "base_station", "device"]
    up, down = hops["dst"].isin(stations), hops["src"].isin(stations)
    direction = np.select([up.to_numpy(), down.to_numpy()], ["uplink", "downlink"], "sidelink")
    return hops[["sinr_db", "mean_rate_bps"]].assign(direction=direction)


def link_samples(tables: Tables, src: str | None, dst: str | None) -> pd.DataFrame:
    """Return the samples of one link, or of a device's links with the base stations that serve it in turn.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``links``, ``devices`` and ``handovers`` of a run.
    src, dst : str or None
        The link's ends; None: whichever base station serves the other.

    Returns
    -------
    DataFrame
        Rows of ``links`` in order of time, with ``peer``, the end that isn't given, or else ``dst``, and
        ``piece``, which rises where the peer changes or the device has handed over, if only there and back.

    Raises
    ------
    ValueError
        Both ends are None.
    """
    if src is None and dst is None:
        raise ValueError("src and dst are None; name at least one end of the link")
    links, kinds = tables["links"], tables["devices"].set_index("device")["kind"]
    chosen = np.ones(len(links), dtype=bool)
    for side, name in (("src", src), ("dst", dst)):
        chosen &= (links[side] == name if name is not None else links[side].map(kinds) == "base_station").to_numpy()
    samples = links[chosen].sort_values("t_s", kind="stable", ignore_index=True)
    changes_s = np.sort(handovers_of(tables, src, dst)["t_s"].to_numpy(dtype=np.float64))
    peer = samples["src" if src is None else "dst"]
    piece = peer.ne(peer.shift()).cumsum() + np.searchsorted(changes_s, samples["t_s"], side="right")
    return samples.assign(peer=peer, piece=piece)


def handovers_of(tables: Tables, src: str | None, dst: str | None) -> pd.DataFrame:
    """Return the rows of ``handovers`` of a link's ends."""
    return tables["handovers"][tables["handovers"]["device"].isin([src, dst])]


@dataclass(frozen=True)
class Curve:
    """A measured value over a stage of training."""

    stage: str
    metric: str
    x: Array
    """Round, seconds, bytes or joules since the start of the run, shape (P,)."""
    y: Array
    """The value, shape (P,)."""


def training_curves(tables: Tables, against: Against = "time", split: str = "global") -> list[Curve]:
    """Return accuracy during training against what it had cost by then.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``metrics``; for bytes also ``transfers``, for joules ``transfers`` and ``compute``.
    against : str
        ``round`` of the stage, simulated ``time`` (s), ``bytes`` moved over all hops so far, or
        ``joules`` spent so far on computing, transmitting and receiving (idle is left out: it depends
        on how long devices would have been on anyway).
    split : str
        Test set: ``global`` or ``local``.

    Returns
    -------
    list of Curve
        One a stage and metric, mean over clients, in the order measured; the final measurements of a
        run, which belong to no round, are not in it.
    """
    metrics = tables["metrics"]
    wanted = metrics["client"].isna() & metrics["round"].notna() & (metrics["split"] == split)
    wanted &= metrics["metric"].str.startswith("accuracy")
    curves = []
    for (stage, metric), rows in metrics[wanted].groupby(["stage", "metric"], sort=False):
        t_s = rows["t_s"].to_numpy(dtype=np.float64)
        x = rows["round"].to_numpy(dtype=np.float64) if against == "round" else _spent(tables, against, t_s)
        curves.append(Curve(str(stage), str(metric), x, rows["value"].to_numpy(dtype=np.float64)))
    return curves


def _spent(tables: Tables, against: Against, t_s: Array) -> Array:
    """Return what training had spent by each time; a transfer or job counts when it ends."""
    if against == "time":
        return t_s
    hops = tables["transfers"]
    hops = hops[hops["stage"].notna()]
    if against == "bytes":
        return _cumulative(hops["t_end_s"], hops["bytes_sent"], t_s)
    jobs = tables["compute"]
    jobs = jobs[jobs["stage"].notna()]
    radio = _cumulative(hops["t_end_s"], hops["tx_energy_j"] + hops["rx_energy_j"], t_s)
    return radio + _cumulative(jobs["t_end_s"], jobs["energy_j"], t_s)


def _cumulative(end_s: pd.Series[float], amount: pd.Series[float], t_s: Array) -> Array:
    order = np.argsort(end_s.to_numpy(dtype=np.float64), kind="stable")
    total = np.concatenate([[0.0], np.cumsum(amount.to_numpy(dtype=np.float64)[order])])
    return total[np.searchsorted(end_s.to_numpy(dtype=np.float64)[order], t_s, side="right")]


def mean_over_seeds(values: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Return the mean over the first axis and the half-width of its Student-t confidence interval.

    Parameters
    ----------
    values : array of float, shape (S, ...)
        One row a seed; independent, about normal.

    Returns
    -------
    mean, half_width : arrays of float, shape (...)
        The half-width is NaN with fewer than two rows.
    """
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    num, mean = len(array), array.mean(axis=0)
    if num < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, t.ppf(0.5 + confidence / 2, num - 1) * array.std(axis=0, ddof=1) / np.sqrt(num)


@dataclass(frozen=True)
class Band:
    """A curve averaged over seeds, with the half-width of its confidence interval (NaN for one seed)."""

    stage: str
    metric: str
    x: Array
    mean: Array
    half_width: Array
    num_seeds: int


def bands(runs: Sequence[Sequence[Curve]]) -> list[Band]:
    """Average the training curves of runs that differ in their seeds.

    Seeds measure at different times (bytes, joules): each curve holds its last value until the next
    measurement and after its last one; the average is taken at every measurement from when all have begun.
    """
    averaged = []
    for key in dict.fromkeys((curve.stage, curve.metric) for curves in runs for curve in curves):
        same = [curve for curves in runs for curve in curves if (curve.stage, curve.metric) == key]
        x = np.unique(np.concatenate([curve.x for curve in same]))
        x = x[x >= max(curve.x[0] for curve in same)]
        values = [curve.y[np.searchsorted(curve.x, x, side="right") - 1] for curve in same]
        averaged.append(Band(*key, x, *mean_over_seeds(values), len(same)))
    return averaged
