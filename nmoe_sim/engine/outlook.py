"""What somebody who plans can know of the network: where links are up, and what they carry on average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nmoe_sim.engine.topology import Link, NoRouteError, Topology


@dataclass(frozen=True)
class Outlook:
    """The network as it was at one time, without contention or interference."""

    topology: Topology
    """Links that were up."""
    rates_bps: Mapping[int, float]
    """What each link, by index, carried at its mean gain."""
    medium: Mapping[int, str]
    """Medium of each link."""
    access_delay_s: float
    end_to_end: bool
    """Whether all hops of a route carry a payload at once."""
    dead_s: float
    """What a hop without a rate counts as."""

    def delay_s(self, src: str, dst: str, n_bytes: int) -> float:
        """Return the time a payload takes over its route: infinite without one, 0 from a device to itself.

        It is the sum over hops of access delay and size over rate, and the delays of wires; where all hops
        carry it at once, of their airtimes only those of the busiest medium count.
        """
        try:
            hops = self.topology.route(src, dst)
        except NoRouteError:
            return math.inf
        waits_s = sum(self.access_delay_s if link.wired is None else link.wired.delay_s for link in hops)
        by_medium: dict[str, float] = {}
        for link in hops:
            medium = self.medium[link.index] if self.end_to_end else ""
            by_medium[medium] = by_medium.get(medium, 0.0) + self._hop_s(link, n_bytes)
        return waits_s + max(by_medium.values(), default=0.0)

    def _hop_s(self, link: Link, n_bytes: int) -> float:
        rate_bps = self.rates_bps[link.index]
        return 8.0 * n_bytes / rate_bps if rate_bps else self.dead_s
