"""A run as a trace-event file, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Every device is a process, and so is every kind of medium: one for all uplinks, say. A device has a lane of jobs, and
lanes of its clients' requests; its handovers are marks. A medium has as many lanes as it has hops on air at once, so
that slices of a lane never overlap; a hop that failed says so, and which attempt it was. A flow leads from a request
over the hops of its features to an expert's job, and over the hops of the output back to where it is combined. Times
are microseconds of simulated time, exact to the nanosecond. Format: "Trace Event Format" (Google, 2016).
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.reading import read_manifest, table_path
from analysis.trace_slices import MAKERS, Slice, arguments, nanoseconds
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import to_pandas, write_text

MAX_EVENTS = 200_000
"""Slices that viewers still handle with ease."""

_SPANS = {
    "requests": ("t_arrival_s", "t_done_s"),
    "compute": ("t_start_s", "t_end_s"),
    "transfers": ("t_start_s", "t_end_s"),
}
_LANES_A_MEDIUM = 10_000


@dataclass(frozen=True)
class TraceFile:
    """What a trace file holds."""

    path: Path
    num_slices: int
    """Requests, jobs and hops in the file."""
    num_left_out: int
    """Requests, jobs and hops of the run that are not."""
    from_s: float
    to_s: float
    """Simulated time of the first and the last slice's begin."""
    cut: bool
    """Whether the window asked for held more than the most events."""


_Route = tuple[tuple[int, str, str, str], list[Slice]]


def write_trace(
    run_dir: str | Path,
    out: str | Path | None = None,
    *,
    from_s: float | None = None,
    to_s: float | None = None,
    max_events: int = MAX_EVENTS,
) -> TraceFile:
    """Write the trace of a finished run.

    Parameters
    ----------
    run_dir : path
    out : path, optional
        The file; ``trace.json`` in the run directory when left out.
    from_s, to_s : float, optional
        Only what happens at some time in this window, in simulated seconds.
    max_events : int
        Most requests, jobs and hops; of more, those that begin first.

    Raises
    ------
    InputError
        If the directory holds no finished run, or nothing happens in the window.
    """
    run_dir = Path(run_dir)
    out = run_dir / "trace.json" if out is None else Path(out)
    if out.is_dir():
        raise InputError("is a directory; name a file with --out", where=str(out))
    manifest = read_manifest(run_dir)
    begins_s, total = _begins(run_dir, from_s, to_s)
    if not len(begins_s):
        window = f"from {from_s} s" if to_s is None else f"from {from_s or 0.0} s to {to_s} s"
        raise InputError(f"nothing happens {window}; see t_start_s in the tables", where=str(run_dir))
    cut = len(begins_s) > max_events
    last_s = float(np.partition(begins_s, max_events - 1)[max_events - 1] if cut else begins_s.max())
    tables = {name: _window(run_dir, name, from_s, last_s) for name in _SPANS}
    requests, jobs, hops = (_take(tables, name, make) for name, make in MAKERS.items())
    slices = sorted([*requests.values(), *jobs.values(), *hops.values()], key=lambda s: (s.begin_ns, s.end_ns))[
        :max_events
    ]
    _tell_media_apart(slices)
    _assign_lanes(slices)
    processes = _processes(run_dir, slices)
    marks = list(_handovers(run_dir, slices[0].begin_ns, max(piece.end_ns for piece in slices), processes))
    kept = {id(piece) for piece in slices}
    flows = list(_flows(tables, requests, jobs, hops, kept))
    other = {key: manifest[key] for key in ("run_id", "scenario", "seed")}
    timed = [*_timed(slices, flows, processes), *marks]
    write_text(out, _document([*_metadata(slices, processes), *sorted(timed, key=_in_time)], other))
    first_s = slices[0].begin_ns / 1e9
    return TraceFile(out, len(slices), total - len(slices), first_s, slices[-1].begin_ns / 1e9, cut)


def _in_window(name: str, from_s: float | None, to_s: float | None) -> Any:
    import pyarrow.dataset as ds

    begin, end = (ds.field(column) for column in _SPANS[name])
    chosen = ds.scalar(True)
    if from_s is not None:
        chosen &= (end >= from_s) | (end.is_null() & (begin >= from_s))
    return chosen if to_s is None else chosen & (begin <= to_s)


def _begins(run_dir: Path, from_s: float | None, to_s: float | None) -> tuple[np.ndarray[Any, Any], int]:
    """Return when each request, job and hop of the window begins, and how many the whole run has."""
    import pyarrow.dataset as ds

    begins, total = [], 0
    for name, (begin, _) in _SPANS.items():
        data = ds.dataset(table_path(run_dir, name))
        total += data.count_rows()
        begins.append(data.to_table(columns=[begin], filter=_in_window(name, from_s, to_s))[begin].to_numpy())
    return np.concatenate(begins), total


def _window(run_dir: Path, name: str, from_s: float | None, to_s: float) -> pd.DataFrame:
    import pyarrow.dataset as ds

    data = ds.dataset(table_path(run_dir, name))
    return to_pandas(data.to_table(filter=_in_window(name, from_s, to_s)))


def _take(tables: dict[str, pd.DataFrame], name: str, make: tuple[str, Any]) -> dict[int, Slice]:
    """Return the slices of a table by the key of its rows."""
    key, maker = make
    return {int(getattr(row, key)): maker(row) for row in tables[name].itertuples(index=False)}


def _tell_media_apart(slices: Iterable[Slice]) -> None:
    """Give each medium of a kind lanes of its own."""
    media = sorted({(piece.process, piece.whose) for piece in slices if piece.whose})
    base = {medium: _LANES_A_MEDIUM * number for number, medium in enumerate(media)}
    for piece in slices:
        piece.base = base.get((piece.process, piece.whose), piece.base)


def _assign_lanes(slices: Iterable[Slice]) -> None:
    """Give each slice the lowest lane of its kind that is free; slices come in order of their begin."""
    busy: dict[tuple[str, int], list[tuple[int, int]]] = {}
    free: dict[tuple[str, int], list[int]] = {}
    for piece in slices:
        kind = (piece.process, piece.base)
        running, idle = busy.setdefault(kind, []), free.setdefault(kind, [])
        while running and running[0][0] <= piece.begin_ns:
            heapq.heappush(idle, heapq.heappop(running)[1])
        lane = heapq.heappop(idle) if idle else len(running)
        heapq.heappush(running, (piece.end_ns, lane))
        piece.lane = piece.base + lane


def _processes(run_dir: Path, slices: Iterable[Slice]) -> dict[str, int]:
    """Return a number for every process: devices in their order, then media."""
    import pyarrow.parquet as pq

    devices = pq.read_table(table_path(run_dir, "devices"), columns=["device"])["device"].to_pylist()
    media = sorted({piece.process for piece in slices if piece.category == "transfer"})
    return {name: number for number, name in enumerate([*devices, *media], start=1)}


def _flows(
    tables: dict[str, pd.DataFrame],
    requests: dict[int, Slice],
    jobs: dict[int, Slice],
    hops: dict[int, Slice],
    kept: set[int],
) -> Iterator[list[Slice]]:
    """Yield what a flow leads through, for each request and each host that ran experts for it."""
    out: dict[tuple[int, str], list[Slice]] = {}
    back: dict[tuple[int, str], list[Slice]] = {}
    for (request, kind, src, dst), route in _payloads(tables["transfers"], hops):
        key, way = ((request, dst), out) if kind == "features" else ((request, src), back)
        way.setdefault(key, []).extend(route)
    ran = tables["compute"][tables["compute"]["request_id"].notna()]
    combined: dict[int, Slice] = {}
    experts: dict[tuple[int, str], list[Slice]] = {}
    for request, kind, host, job in ran[["request_id", "kind", "device", "job_id"]].itertuples(index=False, name=None):
        if kind == "combine":
            combined[request] = jobs[job]
        elif kind == "expert":
            experts.setdefault((request, host), []).append(jobs[job])
    for key, pieces in experts.items():
        ends = [piece for piece in (requests.get(key[0]), combined.get(key[0])) if piece is not None]
        steps = [piece for piece in [*ends, *out.get(key, []), *pieces, *back.get(key, [])] if id(piece) in kept]
        if len(steps) > 1:
            yield sorted(steps, key=lambda piece: piece.begin_ns)


def _payloads(transfers: pd.DataFrame, hops: dict[int, Slice]) -> list[_Route]:
    """Return the hops of each request's payloads, by request, kind, first sender and last receiver."""
    rows = transfers[transfers["request_id"].notna()].sort_values(["payload_id", "transfer_id"], kind="stable")
    columns = ["payload_id", "request_id", "kind", "src", "dst", "transfer_id", "outcome"]
    routes: dict[int, _Route] = {}
    for payload, request, kind, src, dst, hop, outcome in rows[columns].itertuples(index=False, name=None):
        (_, _, first, last), route = routes.get(payload, ((request, kind, src, src), []))
        routes[payload] = (request, kind, first, dst if outcome == "delivered" else last), [*route, hops[hop]]
    return list(routes.values())


def _metadata(slices: Iterable[Slice], processes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for name, pid in processes.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
    for process, base, lane, category, whose in sorted(
        {(p.process, p.base, p.lane, p.category, p.whose) for p in slices}
    ):
        where = {"pid": processes[process], "tid": lane + 1}
        lane_name = {"request": "requests", "compute": "compute", "transfer": whose or "on air"}[category]
        yield {"ph": "M", "name": "thread_name", **where, "args": {"name": f"{lane_name} {lane - base + 1}"}}
        yield {"ph": "M", "name": "thread_sort_index", **where, "args": {"sort_index": lane + 1}}


def _timed(slices: list[Slice], flows: list[list[Slice]], processes: dict[str, int]) -> list[dict[str, Any]]:
    """Return slices and flows."""

    def at(piece: Slice) -> dict[str, Any]:
        return {"pid": processes[piece.process], "tid": piece.lane + 1, "ts": piece.begin_ns / 1000}

    events = [
        {"ph": "X", "name": s.name, "cat": s.category, **at(s), "dur": (s.end_ns - s.begin_ns) / 1000, "args": s.args}
        for s in slices
    ]
    for number, steps in enumerate(flows, start=1):
        flow = {"cat": "flow", "name": "request to expert and back", "id": number}
        events.append({"ph": "s", **flow, **at(steps[0])})
        events += [{"ph": "t", **flow, **at(piece)} for piece in steps[1:-1]]
        events.append({"ph": "f", "bp": "e", **flow, **at(steps[-1])})
    return events


def _in_time(event: dict[str, Any]) -> tuple[float, bool]:
    return event["ts"], event["ph"] != "X"


def _handovers(run_dir: Path, from_ns: int, to_ns: int, processes: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield a mark on the device for every handover between two times."""
    import pyarrow.parquet as pq

    rows: Iterator[Any] = to_pandas(pq.read_table(table_path(run_dir, "handovers"))).itertuples(index=False)
    for row in rows:
        if from_ns <= nanoseconds(row.t_s) <= to_ns:
            name = f"handover {row.from_station} → {row.to_station}"
            args = arguments(num_aborted=row.num_aborted, interruption_s=row.interruption_s)
            where = {"pid": processes[row.device], "tid": 1, "ts": nanoseconds(row.t_s) / 1000}
            yield {"ph": "i", "s": "p", "cat": "handover", "name": name, **where, "args": args}


def _document(events: Iterable[dict[str, Any]], other: dict[str, Any]) -> str:
    lines = ",\n".join(json.dumps(event, allow_nan=False, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ms","otherData":{json.dumps(other)},"traceEvents":[\n{lines}\n]}}\n'
