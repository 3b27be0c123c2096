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
        ``devices``: name, kind, x and y in metres, experts hosted; ``links``: pairs of devices;
        ``requests``: id, client, arrival, answer (null without one), whether it was correct, and
        spans ``[what, from, to, begin, end]``. Times are microseconds since ``begin_s``.

    Notes
    -----
    Devices are where they are when the first played request arrives. A hop is drawn from when it is
    handed to the medium until its last bit has arrived, so that waiting for access shows.
    """
    tables = run.tables_of(run.played)
    requests = tables["requests"].sort_values(["t_arrival_s", "request_id"])
    requests = requests[["request_id", "client", "t_arrival_s", "t_done_s", "correct"]]
    begin_s = float(requests["t_arrival_s"].min()) if len(requests) else 0.0
    devices = _devices(run, begin_s)
    index = {device["name"]: position for position, device in enumerate(devices)}
    spans = _spans(tables, index, begin_s)
    return {
        "devices": devices,
        "links": _links(run, index),
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


def _links(run: ReportRun, index: dict[str, int]) -> list[list[int]]:
    links = link_sinr(run.tables).nlargest(_MOST_LINKS, "sinr_db")
    ends = {(index[src], index[dst]) for src, dst in zip(links["src"], links["dst"], strict=True)}
    return sorted([a, b] for a, b in {(min(pair), max(pair)) for pair in ends})


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
