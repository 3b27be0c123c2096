"""What the playback of requests on the map draws, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.series import link_sinr
from analysis.report.reading import ReportRun

FEATURES, OUTPUT, OTHER_HOP, EXPERT, OTHER_JOB = range(5)
"""What a span of the playback is; the page's script knows the same numbers."""

_MOST_LINKS = 2000


def playback(run: ReportRun) -> dict[str, Any]:
    """Return devices, links and the spans of the played requests of a run.

    Returns
    -------
    dict
        ``devices``: name, kind, x and y in metres, experts hosted; ``moves``: where devices move, times with the
        positions of all; ``links``: times with the pairs of devices linked from then on, the first before all;
        ``requests``: id, client, arrival, answer (null without one), whether it was correct, and
        spans ``[what, from, to, begin, end]``. Times are microseconds since ``begin_s``.

    Notes
    -----
    A hop is drawn from when it is handed to the medium until its last bit has arrived, so that waiting for access
    shows; an attempt that failed too. Devices move in straight lines between the positions recorded.
    """
    tables = run.tables_of(run.played)
    requests = tables["requests"].sort_values(["t_arrival_s", "request_id"])
    requests = requests[["request_id", "client", "t_arrival_s", "t_done_s", "correct"]]
    begin_s = float(requests["t_arrival_s"].min()) if len(requests) else 0.0
    devices = _devices(run, begin_s)
    index = {device["name"]: position for position, device in enumerate(devices)}
    spans = _spans(tables, index, begin_s)
    ends_s = [float(tables[name]["t_end_s"].max()) for name in ("transfers", "compute") if len(tables[name])]
    window_s = begin_s, max([begin_s, *ends_s])
    return {
        "devices": devices,
        "moves": _moves(run, devices, window_s),
        "links": _links(run, index, window_s),
        "begin_s": begin_s,
        "total": len(run.tables["requests"]),
        "requests": [
            {
                "id": request,
                "client": index[client],
                "begin": _us(arrival_s, begin_s),
                "end": None if pd.isna(done_s) else _us(done_s, begin_s),
                "correct": None if pd.isna(correct) else bool(correct),
                "spans": spans.get(request, []),
            }
            for request, client, arrival_s, done_s, correct in requests.itertuples(index=False, name=None)
        ],
    }


def _devices(run: ReportRun, t_s: float) -> list[dict[str, Any]]:
    positions = run.tables["positions"].sort_values("t_s", kind="stable")
    first = positions.drop_duplicates("device").set_index("device")
    latest = positions[positions["t_s"] <= t_s].drop_duplicates("device", keep="last").set_index("device")
    where = latest.combine_first(first)
    experts = run.tables["placement"].groupby("device")["expert"].apply(list).to_dict()
    return [
        {
            "name": str(name),
            "kind": str(kind),
            "x": round(float(where.loc[name, "x_m"]), 2),
            "y": round(float(where.loc[name, "y_m"]), 2),
            "experts": [int(expert) for expert in experts.get(name, [])],
        }
        for name, kind in run.tables["devices"][["device", "kind"]].itertuples(index=False, name=None)
    ]


def _moves(run: ReportRun, devices: list[dict[str, Any]], window_s: tuple[float, float]) -> list[list[Any]]:
    if run.is_static:
        return []
    where = run.tables["positions"].pivot_table(index="t_s", columns="device", values=["x_m", "y_m"]).ffill()
    where = where.loc[_around(where.index.to_numpy(np.float64), window_s)]
    names = [device["name"] for device in devices]
    xy_m = np.stack([where[axis][names].to_numpy(np.float64) for axis in ("x_m", "y_m")], axis=-1).round(2)
    return [[_us(t_s, window_s[0]), places] for t_s, places in zip(where.index, xy_m.tolist(), strict=True)]


def _links(run: ReportRun, index: dict[str, int], window_s: tuple[float, float]) -> list[list[Any]]:
    begin_s = window_s[0]
    if run.is_static:
        return [[0.0, _pairs(index, link_sinr(run.tables).nlargest(_MOST_LINKS, "sinr_db"))]]
    links, handovers = run.tables["links"], run.tables["handovers"]
    samples = links[links["t_s"].isin(_around(links["t_s"].unique(), window_s))]
    linked = [[t_s, _pairs(index, rows)] for t_s, rows in samples.groupby("t_s")]
    for device, t_s, old, new in handovers[["device", "t_s", "from_station", "to_station"]].itertuples(index=False):
        i = sum(sample_s <= t_s for sample_s, _ in linked)
        if i > 0 and begin_s <= t_s <= window_s[1]:
            pairs = [pair for pair in linked[i - 1][1] if pair != sorted((index[device], index[old]))]
            linked.insert(i, [t_s, sorted([*pairs, sorted((index[device], index[new]))])])
    return [[_us(t_s, begin_s), pairs] for t_s, pairs in linked]


def _pairs(index: dict[str, int], links: pd.DataFrame) -> list[list[int]]:
    ends = {(index[src], index[dst]) for src, dst in zip(links["src"], links["dst"], strict=True)}
    return sorted([a, b] for a, b in {(min(pair), max(pair)) for pair in ends})


def _around(times_s: Any, window_s: tuple[float, float]) -> Any:
    """Return the times in a window, and the last one before and the first one after it."""
    times_s = np.sort(times_s)
    first = max(0, int(np.searchsorted(times_s, window_s[0], side="right")) - 1)
    return times_s[first : int(np.searchsorted(times_s, window_s[1], side="left")) + 1]


def _spans(tables: dict[str, pd.DataFrame], index: dict[str, int], begin_s: float) -> dict[int, list[list[Any]]]:
    spans: dict[int, list[list[Any]]] = {}
    hops = tables["transfers"][["request_id", "kind", "src", "dst", "t_ready_s", "t_end_s"]]
    for request, kind, src, dst, ready_s, end_s in hops.itertuples(index=False, name=None):
        what = {"features": FEATURES, "output": OUTPUT}.get(kind, OTHER_HOP)
        span = [what, index[src], index[dst], _us(ready_s, begin_s), _us(end_s, begin_s)]
        spans.setdefault(int(request), []).append(span)
    jobs = tables["compute"][["request_id", "kind", "device", "t_start_s", "t_end_s"]]
    for request, kind, device, start_s, end_s in jobs.itertuples(index=False, name=None):
        what, where = EXPERT if kind == "expert" else OTHER_JOB, index[device]
        spans.setdefault(int(request), []).append([what, where, where, _us(start_s, begin_s), _us(end_s, begin_s)])
    return spans


def _us(t_s: Any, begin_s: float) -> float:
    return float(np.round(1e6 * (float(t_s) - begin_s), 2))
