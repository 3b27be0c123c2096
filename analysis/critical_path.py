"""Where a request's latency goes: its spans along the critical path.

A span runs from the time something was handed to a device or a medium (``t_ready_s``) to the time it
was done (``t_end_s``). The path is walked backwards from the answer: before each span comes the one
that ended at its beginning, in the same place; before an attempt at a hop the one that failed. So the spans of
a path follow each other without gaps and add up to the latency.

An answer combined at its deadline was not triggered by any job or hop. The time from the last thing
that had come to the client until then is a span of its own, ``deadline``: waiting in vain. One combined because
the last output it waited for was given up was triggered by the attempt that failed last.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.spans import Span, Step, Tables, steps_of_requests

__all__ = ["BrokenPathError", "Span", "critical_path", "critical_paths", "latency_breakdown"]

_COMMON = (
    "queue_s",
    "access_s",
    "recovery_backoff_s",
    "recovery_failed_s",
    "recovery_interruption_s",
    "delay_harq_s",
    "delay_wire_s",
    "deadline_s",
)


class BrokenPathError(ValueError):
    """A request whose spans don't lead from its answer back to its arrival."""


def critical_path(tables: Tables, request_id: int) -> list[Span]:
    """Return the spans that led to a request's answer, from its arrival on.

    Of several spans that end together, the one that was ready last is taken.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        ``requests``, ``compute`` and ``transfers`` of a run, and ``handovers`` if it has interruptions to tell apart.
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
    paths = dict(_paths({**tables, "requests": requests[requests["request_id"] == request_id], **of_request}))
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

    Parameters
    ----------
    tables : mapping of str to DataFrame
        As for ``critical_path``.

    Returns
    -------
    DataFrame
        One row a completed request, by ``request_id``, that adds up to ``latency_s``. In seconds:
        ``queue_s`` (waiting for a device), ``compute_KIND_s`` (being served); ``access_s`` (before a hop's first bit),
        ``airtime_KIND_s`` (a medium to itself), ``sharing_KIND_s`` (a medium busy with others),
        ``delay_harq_s`` (retransmissions after the last bit), ``delay_wire_s`` (on wires); ``recovery_failed_s``
        (attempts that failed), ``recovery_backoff_s`` (before the next one), ``recovery_interruption_s`` (a handover
        keeps a hop from starting); ``deadline_s`` (waiting in vain).

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
            row = rows[request_id] = dict.fromkeys(_COMMON, 0.0)
            for span in path:
                for name, seconds in span.parts_s().items():
                    row[name] = row.get(name, 0.0) + seconds
    names = sorted({name for row in rows.values() for name in row} - set(_COMMON))
    index = pd.Index(list(rows), name="request_id", dtype="int64")
    values = [[row.get(name, 0.0) for name in (*_COMMON, *names)] for row in rows.values()]
    return pd.DataFrame(values, index=index, columns=[*_COMMON, *names], dtype="float64")


def _paths(tables: Tables) -> Iterator[tuple[int, list[Span] | BrokenPathError]]:
    steps = steps_of_requests(tables)
    answered = tables["requests"][["request_id", "client", "t_arrival_s", "t_done_s"]]
    for request, client, arrival_s, done_s in answered.itertuples(index=False, name=None):
        try:
            yield request, [] if pd.isna(done_s) else _walk(request, client, arrival_s, done_s, steps.get(request, []))
        except BrokenPathError as error:
            yield request, error


def _walk(request: int, client: str, arrival_s: float, done_s: float, steps: list[Step]) -> list[Span]:
    """Return the path to ``done_s``, walked backwards; exact times chain, since they are the same event's."""
    path: list[Span] = []
    left = [step for step in steps if step.is_last]
    t_s, place, same_payload = done_s, client, None
    while t_s > arrival_s:
        ended = [same_payload] if same_payload is not None else left
        before = [step for step in ended if step.span.t_end_s == t_s and step.ends_at(client) == place]
        if before:
            step = max(before, key=lambda step: step.span.t_ready_s)
            if same_payload is None:
                left.remove(step)
            span, same_payload = step.span, step.before
        elif len(path) == 1 and place == client and same_payload is None:
            come_s = [step.span.t_end_s for step in left if step.ends_at(client) == client]
            since_s = max((end_s for end_s in come_s if end_s < t_s), default=arrival_s)
            span = Span("deadline", "deadline", client, client, since_s, since_s, t_s)
        else:
            raise BrokenPathError(f"request {request}: nothing ended on {place} at {t_s!r} s, where its path leads")
        path.append(span)
        t_s, place = span.t_ready_s, span.src
    if t_s < arrival_s or place != client:
        raise BrokenPathError(f"request {request}: its path leads to {place} at {t_s!r} s, not to its arrival")
    return path[::-1]
