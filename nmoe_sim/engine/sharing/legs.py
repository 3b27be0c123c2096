"""The book that fluid media keep on each active leg."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.sharing.media import Done, Ended, Leg, Outcome

BITS, TX, RX, LOSS, RETRANSMISSIONS = range(5)
LEG = np.dtype(
    [
        ("number", np.int64),  # of the transfer, in order of start
        ("link", np.int64),
        ("bits", np.float64),
        ("used", np.float64, 5),  # bits sent, airtimes, loss exponent, retransmissions
        ("speed", np.float64, 5),  # what of these is added a second
        ("end_s", np.float64),  # when the last bit is sent
        ("silent_s", np.float64),  # since when the transfer's links have no rate
        ("last", np.float64, 3),  # of the last block: retransmissions, time between them, bits
        ("sinr", np.float64),  # in the first plan; nan before
    ]
)


class Transfer(NamedTuple):
    """Whom to tell when it ends; its legs are rows of the book."""

    links: tuple[int, ...]
    done: Done
    payload: Any


def summary_of(legs: NDArray[np.void], outcome: Outcome) -> Ended:
    """Return how the transfer of these legs ended."""
    used = legs["used"]
    sent = float(used[0, BITS])
    if outcome == "delivered":  # to the last bit, whatever the rounding of the clock
        rate_bps = legs["speed"][0, BITS]
        bits = float(legs["bits"][0])
        if rate_bps > 0:
            used = used + legs["speed"] * ((bits - sent) / rate_bps)
        sent = bits
    last = legs["last"].copy()
    if outcome != "delivered":  # nobody waits for the last block
        last[:, 0] = 0.0
    return Ended(
        outcome,
        sent,
        tuple(Leg(*row) for row in np.column_stack([used[:, TX:], last, legs["sinr"]]).tolist()),
    )
