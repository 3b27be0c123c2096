"""Slices of a trace: a request, a job, or an attempt at a hop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_FIRST_REQUEST_LANE = 1000


@dataclass(slots=True)
class Slice:
    """A slice, of a process such as a device, in a lane of its kind."""

    process: str
    name: str
    category: str
    begin_ns: int
    end_ns: int
    args: dict[str, Any]
    base: int = 0
    """First lane of its kind within the process."""
    lane: int = 0
    whose: str = ""
    """Of a hop: whose medium it is on, where there are several of its kind."""


def _request_slice(row: Any) -> Slice:
    arrival_ns, done_ns = nanoseconds(row.t_arrival_s), None if pd.isna(row.t_done_s) else nanoseconds(row.t_done_s)
    answered = f"request {row.request_id}" if done_ns is not None else f"request {row.request_id} ({row.outcome})"
    args = arguments(request=row.request_id, outcome=row.outcome, correct=row.correct, energy_j=row.energy_j)
    end_ns = arrival_ns if done_ns is None else done_ns
    return Slice(row.client, answered, "request", arrival_ns, end_ns, args, _FIRST_REQUEST_LANE)


def _job_slice(row: Any) -> Slice:
    waited = round(1e6 * (row.t_start_s - row.t_ready_s), 3)
    args = arguments(**_belongs(row), flop=row.flop, energy_j=row.energy_j, waited_us=waited)
    return Slice(row.device, row.kind, "compute", nanoseconds(row.t_start_s), nanoseconds(row.t_end_s), args)


def _hop_slice(row: Any) -> Slice:
    waited = round(1e6 * (row.t_start_s - row.t_ready_s), 3)
    args = arguments(
        **_belongs(row),
        src=row.src,
        dst=row.dst,
        hop=row.hop,
        attempt=row.attempt,
        outcome=row.outcome,
        n_bytes=row.n_bytes,
        bytes_sent=row.bytes_sent,
        rate_bps=row.mean_rate_bps,
        sinr_db=row.sinr_db if np.isfinite(row.sinr_db) else None,
        retransmissions=row.retransmissions,
        waited_us=waited,
    )
    name = f"{row.kind} {row.src} → {row.dst}"
    if row.outcome != "delivered":
        name += f" ({row.outcome})"
    kind, _, whose = row.medium.partition(":")
    return Slice(
        f"medium {kind}", name, "transfer", nanoseconds(row.t_start_s), nanoseconds(row.t_end_s), args, whose=whose
    )


MAKERS: dict[str, tuple[str, Callable[[Any], Slice]]] = {
    "requests": ("request_id", _request_slice),
    "compute": ("job_id", _job_slice),
    "transfers": ("transfer_id", _hop_slice),
}


def _belongs(row: Any) -> dict[str, Any]:
    return {"request": row.request_id, "stage": row.stage, "round": row.round}


def arguments(**values: Any) -> dict[str, Any]:
    """Return the arguments that are there, as plain Python values."""
    present = {name: value for name, value in values.items() if value is not None and not pd.isna(value)}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in present.items()}


def nanoseconds(t_s: float) -> int:
    """Return a time in nanoseconds."""
    return round(1e9 * t_s)
