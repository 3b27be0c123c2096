"""Where a request's latency goes: its spans along the critical path.

A span runs from the time something was handed to a device or a medium (``t_ready_s``) to the time it
was done (``t_end_s``). The path is walked backwards from the answer: before each span comes the one
that ended at its beginning, in the same place. So the spans of a path follow each other without gaps
and add up to the latency.

An answer combined at its deadline was not triggered by any job or hop. The time from the last thing
that had come to the client until then is a span of its own, ``deadline``: waiting in vain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

Tables = Mapping[str, pd.DataFrame]

_COMPUTE_COLUMNS = ["request_id", "kind", "device", "t_ready_s", "t_start_s", "t_end_s"]
_HOP_COLUMNS = ["request_id", "kind", "src", "dst", "t_ready_s", "t_start_s", "t_end_s", "airtime_s"]
_WAITS = ("queue_s", "access_s", "deadline_s")


class BrokenPathError(ValueError):
    """A request whose spans don't lead from its answer back to its arrival."""


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a critical path."""

    what: Literal["compute", "transfer", "deadline"]
    """A job in a device's queue, a hop on a medium, or a wait in vain."""
    kind: str
    """Kind of the job or payload; ``deadline`` for a wait."""
    src: str
    """Device it begins at."""
    dst: str
    """Device it ends at; the same as ``src`` but for a hop."""
    t_ready_s: float
    t_start_s: float
    """When the job was served, or the hop's first bit sent."""
    t_end_s: float
    airtime_s: float = 0.0
    """Time the medium gave to the hop alone."""

    @property
    def duration_s(self) -> float:
        """Length of the span, queueing included."""
        return self.t_end_s - self.t_ready_s

    def parts_s(self) -> dict[str, float]:
        """Return the span's seconds by column of ``latency_breakdown``; they add up to ``duration_s``."""
        waited_s, served_s = self.t_start_s - self.t_ready_s, self.t_end_s - self.t_start_s
        if self.what == "compute":
            return {"queue_s": waited_s, f"compute_{self.kind}_s": served_s}
        if self.what == "deadline":
            return {"deadline_s": self.duration_s}
        sharing_s = served_s - self.airtime_s
        return {"access_s": waited_s, f"airtime_{self.kind}_s": self.airtime_s, f"sharing_{self.kind}_s": sharing_s}


def critical_path(tables: Tables, request_id: int) -> list[Span]:
    """Return the spans that led to a request's answer, from its arrival on.

    Of several spans that end together, the one that was ready last is taken.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``requests``, ``compute`` and ``transfers`` of a run.
    request_id : int

    Returns
    -------
    list of Span
        Empty for a request without an answer.

    Raises
    ------
    KeyError
        If there is no such request.
    BrokenPathError
        If the spans don't lead back to the arrival.
    """
    requests = tables["requests"]
    of_request = {name: tables[name][tables[name]["request_id"] == request_id] for name in ("compute", "transfers")}
    paths = dict(_paths({"requests": requests[requests["request_id"] == request_id], **of_request}))
    if request_id not in paths:
        raise KeyError(f"no request {request_id}")
    path = paths[request_id]
    if isinstance(path, BrokenPathError):
        raise path
    return path


def critical_paths(tables: Tables) -> dict[int, list[Span] | BrokenPathError]:
    """Return the critical path of every request, or what is wrong with it; see ``critical_path``."""
    return dict(_paths(tables))


def latency_breakdown(tables: Tables) -> pd.DataFrame:
    """Return where the latency of each completed request went.

    Returns
    -------
    DataFrame
        One row a completed request, by ``request_id``; in seconds, ``queue_s`` (waiting for a device),
        ``compute_KIND_s`` (being served), ``access_s`` (before a hop's first bit), ``airtime_KIND_s``
        (a medium to itself), ``sharing_KIND_s`` (a medium busy with others), ``deadline_s`` (waiting in
        vain). A row adds up to ``latency_s``.

    Raises
    ------
    BrokenPathError
        If the spans of a request don't lead back to its arrival.
    """
    rows: dict[int, dict[str, float]] = {}
    for request_id, path in critical_paths(tables).items():
        if isinstance(path, BrokenPathError):
            raise path
        if path:
            row = rows[request_id] = dict.fromkeys(_WAITS, 0.0)
            for span in path:
                for name, seconds in span.parts_s().items():
                    row[name] = row.get(name, 0.0) + seconds
    names = sorted({name for row in rows.values() for name in row} - set(_WAITS))
    index = pd.Index(list(rows), name="request_id", dtype="int64")
    values = [[row.get(name, 0.0) for name in (*_WAITS, *names)] for row in rows.values()]
    return pd.DataFrame(values, index=index, columns=[*_WAITS, *names], dtype="float64")


def _paths(tables: Tables) -> Iterator[tuple[int, list[Span] | BrokenPathError]]:
    spans: dict[int, list[Span]] = {}
    for request, kind, device, *times in _rows(tables["compute"], _COMPUTE_COLUMNS):
        spans.setdefault(request, []).append(Span("compute", kind, device, device, *times))
    for request, kind, src, dst, *times in _rows(tables["transfers"], _HOP_COLUMNS):
        spans.setdefault(request, []).append(Span("transfer", kind, src, dst, *times))
    answered = tables["requests"][["request_id", "client", "t_arrival_s", "t_done_s"]]
    for request, client, arrival_s, done_s in answered.itertuples(index=False, name=None):
        try:
            yield request, [] if pd.isna(done_s) else _walk(request, client, arrival_s, done_s, spans.get(request, []))
        except BrokenPathError as error:
            yield request, error


def _rows(table: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    return table.loc[table["request_id"].notna(), columns].itertuples(index=False, name=None)


def _walk(request: int, client: str, arrival_s: float, done_s: float, spans: list[Span]) -> list[Span]:
    """Return the path to ``done_s``, walked backwards; exact times chain, since they are the same event's."""
    path: list[Span] = []
    left = list(spans)
    t_s, place = done_s, client
    while t_s > arrival_s:
        before = [span for span in left if span.t_end_s == t_s and span.dst == place]
        if before:
            span = max(before, key=lambda span: span.t_ready_s)
            left.remove(span)
        elif path and place == client and all(span.what != "deadline" for span in path):
            since_s = max((s.t_end_s for s in left if s.dst == client and s.t_end_s < t_s), default=arrival_s)
            span = Span("deadline", "deadline", client, client, since_s, since_s, t_s)
        else:
            raise BrokenPathError(f"request {request}: nothing ended on {place} at {t_s!r} s, where its path leads")
        path.append(span)
        t_s, place = span.t_ready_s, span.src
    if t_s < arrival_s or place != client:
        raise BrokenPathError(f"request {request}: its path leads to {place} at {t_s!r} s, not to its arrival")
    return path[::-1]
