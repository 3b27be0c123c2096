"""Spans of time that requests are made of: jobs, attempts at hops, waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

Tables = Mapping[str, pd.DataFrame]

_COMPUTE_COLUMNS = ["request_id", "kind", "device", "t_ready_s", "t_start_s", "t_end_s"]
_HOP_COLUMNS = ["request_id", "payload_id", "hop", "attempt", "kind", "src", "dst", "t_ready_s", "t_start_s", "t_end_s"]
_HOP_COLUMNS += ["airtime_s", "tail_s", "outcome"]


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a critical path, from when something was handed to a device or a medium until it was done."""

    what: Literal["compute", "transfer", "failed", "deadline"]
    """A job in a device's queue; a hop on a medium, or a route that a payload took at once; an attempt at it that
    failed; a wait in vain."""
    kind: str
    """Kind of the job or payload; ``deadline`` for a wait."""
    src: str
    """Device it begins at."""
    dst: str
    """Device it ends at, or would have; the same as ``src`` but for hops."""
    t_ready_s: float
    t_start_s: float
    """When the job was served, or the hop's first bit sent."""
    t_end_s: float
    airtime_s: float = 0.0
    """Time the medium gave to the hop alone; of a route, on its busiest radio link."""
    attempt: int = 0
    """Attempt at the hop, from 0."""
    harq_s: float = 0.0
    """After the last bit was sent: retransmissions."""
    wire_s: float = 0.0
    """On a wire."""
    interruption_s: float = 0.0
    """Of the wait: a handover kept an end of the hop from starting."""

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
        wait = "recovery_backoff_s" if self.attempt else "access_s"
        parts = {"recovery_interruption_s": self.interruption_s, wait: waited_s - self.interruption_s}
        if self.what == "failed":
            return {**parts, "recovery_failed_s": served_s}
        sharing_s = served_s - self.airtime_s - self.harq_s - self.wire_s
        parts |= {"delay_harq_s": self.harq_s, "delay_wire_s": self.wire_s}
        return {**parts, f"airtime_{self.kind}_s": self.airtime_s, f"sharing_{self.kind}_s": sharing_s}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A span in its place among those of its request."""

    span: Span
    before: Step | None = None
    """What the same payload did before: the hop it came over, or the attempt that failed."""
    is_last: bool = True
    """Whether the payload did nothing after it."""

    def ends_at(self, client: str) -> str:
        """Return the device where it has an effect: a payload given up is known to the client at once."""
        if self.span.what != "failed":
            return self.span.dst
        return client if self.is_last else self.span.src


def steps_of_requests(tables: Tables) -> dict[int, list[Step]]:
    """Return what was done for each request."""
    steps: dict[int, list[Step]] = {}
    for request, kind, device, *times in _rows(tables["compute"], _COMPUTE_COLUMNS):
        steps.setdefault(request, []).append(Step(Span("compute", kind, device, device, *times)))
    interruptions = _interruptions(tables.get("handovers"))
    hops = tables["transfers"].sort_values("transfer_id", kind="stable")
    payloads: dict[tuple[int, int], list[list[Any]]] = {}
    for request, payload, *row in _rows(hops, _HOP_COLUMNS):
        payloads.setdefault((request, payload), []).append(row)
    for (request, _), rows in payloads.items():
        before: Step | None = None
        spans = [_span(legs, interruptions) for legs in _together(rows)]
        for i, span in enumerate(spans):
            before = Step(span, before, i == len(spans) - 1)
            steps.setdefault(request, []).append(before)
    return steps


def _rows(table: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    return table.loc[table["request_id"].notna(), columns].itertuples(index=False, name=None)


def _together(rows: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """Yield the hops of a payload that were on air together: one, or, end to end, those of a whole route."""
    legs: list[list[Any]] = []
    for row in rows:
        if legs and (row[1], row[5:8]) == (legs[-1][1], legs[-1][5:8]) and row[0] == legs[-1][0] + 1:
            legs.append(row)
        else:
            if legs:
                yield legs
            legs = [row]
    yield legs


def _span(legs: list[list[Any]], interruptions: dict[str, list[tuple[float, float]]]) -> Span:
    _, attempt, kind, src, _, ready_s, start_s, end_s, _, _, outcome = legs[0]
    delivered = outcome == "delivered"
    what: Literal["transfer", "failed"] = "transfer" if delivered else "failed"
    span = Span(what, kind, src, legs[-1][4], ready_s, start_s, end_s, attempt=attempt)
    if interruptions:
        ends = {name for leg in legs for name in leg[3:5]}
        span = replace(span, interruption_s=_overlap_s(interruptions, ends, span.t_ready_s, span.t_start_s))
    if not delivered:
        return span
    radio = [leg for leg in legs if not pd.isna(leg[8])]
    if not radio:
        return replace(span, wire_s=span.t_end_s - span.t_start_s)
    harq_s = sum(leg[9] for leg in radio)
    wire_s = sum(leg[9] for leg in legs) - harq_s if len(radio) < len(legs) else 0.0
    return replace(span, airtime_s=max(leg[8] for leg in radio), harq_s=harq_s, wire_s=wire_s)


def _interruptions(handovers: pd.DataFrame | None) -> dict[str, list[tuple[float, float]]]:
    """Return from when until when each device could not start anything."""
    found: dict[str, list[tuple[float, float]]] = {}
    if handovers is not None:
        for device, t_s, length_s in handovers[["device", "t_s", "interruption_s"]].itertuples(index=False, name=None):
            found.setdefault(device, []).append((t_s, t_s + length_s))
    return found


def _overlap_s(
    interruptions: dict[str, list[tuple[float, float]]], names: Iterable[str], from_s: float, to_s: float
) -> float:
    """Return how long a wait was within an interruption of one of some devices."""
    overlaps = [min(end, to_s) - max(begin, from_s) for name in names for begin, end in interruptions.get(name, [])]
    return max(0.0, *overlaps) if overlaps else 0.0
