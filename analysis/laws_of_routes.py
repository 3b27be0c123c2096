"""How payloads get from place to place: hop by hop, attempt by attempt. Deviations are seconds or counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.books import Books, Floats, Law

TOLERANCE = 1e-9

_SAME = ("request_id", "stage", "kind", "n_bytes", "phase")


def _routes(books: Books) -> Floats:
    moves = books.moves
    before = moves.shift(1)
    first = moves["payload_id"] != before["payload_id"]
    came_over = before["delivered"].fillna(False).astype(bool)
    chained = moves["src"] == before["dst"].where(came_over, before["src"])
    chained &= moves["hop"] == before["hop"] + before["num_legs"].where(came_over, 0)
    for column in _SAME:
        chained &= moves[column] == before[column]
    gap_s = (moves["t_ready_s"] - before["t_end_s"]).abs().where(chained, np.inf)
    return np.concatenate([gap_s.mask(first, 0.0).mask(first & (moves["hop"] != 0), np.inf), _legs(books)])


def _legs(books: Books) -> Floats:
    """Hops of a route taken at once are in line, and end alike."""
    legs = books.transfers
    before = legs.shift(1)
    later = legs["first_leg"] != legs.index
    alike = legs["src"] == before["dst"]
    for column in ("kind", "n_bytes", "bytes_sent", "outcome"):
        alike &= legs[column] == before[column]
    return np.where(later & ~alike, np.inf, 0.0)


def _attempts(books: Books) -> Floats:
    moves, retry = books.moves, books.scenario["radio"]["retry"]
    most_by_phase = {"inference": retry["max_retries"], "training": retry["max_training_retries"]}
    before = moves.shift(1)
    again = (moves["payload_id"] == before["payload_id"]) & (moves["hop"] == before["hop"])
    expected = (before["attempt"] + 1).where(again, 0)
    skipped = (moves["attempt"] - expected).abs()
    if books.may_lack_routes:
        skipped = (expected - moves["attempt"]).clip(lower=0)
    most = moves["phase"].map(most_by_phase).astype("float64").fillna(np.inf)
    too_many = (moves["attempt"] - most).clip(lower=0)
    lost = books.payloads[~books.payloads["delivered"]]
    most = lost["phase"].map(most_by_phase).astype("float64").fillna(np.inf)
    too_few = (most - lost["attempt"]).clip(lower=0)[[not books.may_lack_routes] * len(lost)]
    return np.concatenate([part.astype(np.float64) for part in (skipped, too_many, too_few)])


def _access(books: Books) -> Floats:
    moves, radio = books.moves, books.scenario["radio"]
    retry = radio["retry"]
    doublings = (moves["attempt"] - 1).clip(0, 60)
    pause_s = (retry["backoff_s"] * 2.0**doublings).clip(upper=retry["max_backoff_s"]).where(moves["attempt"] > 0, 0.0)
    least_s = pause_s + radio["access_delay_s"] * moves["num_radio_legs"]
    excess_s = moves["t_start_s"] - moves["t_ready_s"] - least_s
    return np.asarray(np.where(_may_wait_longer(books, moves), np.maximum(-excess_s, 0.0), excess_s.abs()), np.float64)


def _may_wait_longer(books: Books, moves: pd.DataFrame) -> pd.Series[bool]:
    """Tell which moves may have waited for a route, or for the end of a handover."""
    waits = pd.Series(books.may_lack_routes, index=moves.index)
    for t_s, length_s in books.tables["handovers"][["t_s", "interruption_s"]].itertuples(index=False, name=None):
        waits |= (moves["t_ready_s"] <= t_s + length_s) & (moves["t_start_s"] >= t_s)
    return waits


LAWS = (
    Law(
        "routes",
        "A hop begins where and when the one before it ended, with the same payload; an attempt where and when the one "
        "before it failed. Hops of a route taken at once are in line and end together.",
        TOLERANCE,
        _routes,
    ),
    Law(
        "attempts",
        "Attempts at a hop are counted from 0, with at most radio.retry.max_retries after the first in inference and "
        "max_training_retries in training; only then is a payload given up, or when a device goes down.",
        0.0,
        _attempts,
    ),
    Law(
        "access",
        "A first bit is sent the access delay of every radio hop after the media got the payload, and before another "
        "attempt the back-off as well; later only where a handover or a missing route holds it up.",
        TOLERANCE,
        _access,
    ),
)
