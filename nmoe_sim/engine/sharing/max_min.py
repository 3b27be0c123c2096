"""Policy ``max_min``: transfers are flows over their whole routes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.engine.sharing.filling import fill
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.engine.sharing.policy import Sharing


class MaxMin(Sharing):
    """Max-min fair rates of flows that are on all links of their routes at once.

    No transfer's rate can be raised without lowering that of one that has no more: what per-flow fair queueing with
    backpressure, and roughly TCP of equal round-trip times, comes to (Bertsekas & Gallager, Data Networks, 2nd ed.,
    section 6.5.2). A medium has one unit of airtime; a leg at rate r on a link of rate R takes r/R of it. So, unlike
    with ``equal_share``, transfers on one medium have equal *rates*: a slow link takes more of the time.

    Left out: packets, delay and loss in the queues of relays. The duty of half-duplex radios, and interference, follow
    from who is active, not from how busy each link turns out to be.
    """

    kind: ClassVar[str] = "max_min"
    end_to_end: ClassVar[bool] = True

    def plan(self, load: Load) -> Plan:
        """Return the airtimes of the max-min fair rates."""
        _, transfer = np.unique(load.number, return_inverse=True)
        _, medium = np.unique(load.medium, return_inverse=True)
        airtime_per_bit = 1.0 / load.rate_bps
        cap = np.full(transfer[-1] + 1, np.inf)
        fair_bps = fill(medium, transfer, airtime_per_bit, np.ones(medium.max() + 1), cap)
        return Plan(fair_bps[transfer] * airtime_per_bit)
