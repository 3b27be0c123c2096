"""A way to share a medium of one's own: whoever is nearest to the end goes first."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.engine.sharing import Load, Plan, Sharing


class ShortestFirst(Sharing):
    """The whole medium for the transfer with the least airtime left; it minimises the mean time a transfer takes.

    Shortest remaining processing time (Schrage 1968). A long transfer may wait for ever.
    """

    kind: ClassVar[str] = "shortest_first"

    def plan(self, load: Load) -> Plan:
        """Return everything for one leg; the medium asks again at every start, end and change of rates."""
        rate_bps = load.rate_bps
        left_s = np.divide(load.bits_left, rate_bps, out=np.full(len(load), np.inf), where=rate_bps > 0)
        return Plan(load.only(int(np.argmin(left_s))))


FAMILIES = {"sharing": [ShortestFirst]}
