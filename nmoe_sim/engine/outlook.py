"""What somebody who plans can know of the network: where links are up, and what they carry on average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nmoe_sim.engine.routes import NoRouteError
from nmoe_sim.engine.topology import Topology


@dataclass(frozen=True)
class Outlook:
    """The network as it was at one time, without contention or interference."""

    topology: Topology
    """Links that were up."""
    rates_bps: Mapping[int, float]
    """What each link, by index, carried at its mean gain."""
    analog_bps: Mapping[int, float]
    """The same of analog payloads; wires carry them as bits. Empty unless the run has any."""
    sinr: Mapping[int, float]
    """SNR of each link at its mean gain, linear; infinite on wires."""
    medium: Mapping[int, str]
    """Medium of each link."""
    access_delay_s: float
    end_to_end: bool
    """Whether all hops of a route carry a payload at once."""
    dead_s: float
    """What a hop without a rate counts as."""

    _snr_db: dict[tuple[str, str], float] = field(default_factory=dict, repr=False, compare=False)

    def of(self, topology: Topology) -> Outlook:
        """Return the same with other links up."""
        return replace(self, topology=topology, _snr_db={})

    def delay_s(self, src: str, dst: str, n_bytes: int, *, analog: bool = False) -> float:
        """Return the time a payload takes over its route: infinite without one, 0 from a device to itself.

        It is the sum over hops of access delay and size over rate, and the delays of wires; where all hops
        carry it at once, of their airtimes only those of the busiest medium count.
        """
        try:
            hops = self.topology.route(src, dst)
        except NoRouteError:
            return math.inf
        rates_bps = self.analog_bps if analog else self.rates_bps
        waits_s = sum(self.access_delay_s if link.wired is None else link.wired.delay_s for link in hops)
        by_medium: dict[str, float] = {}
        for link in hops:
            medium = self.medium[link.index] if self.end_to_end else ""
            rate_bps = rates_bps[link.index]
            airtime_s = 8.0 * n_bytes / rate_bps if rate_bps else self.dead_s
            by_medium[medium] = by_medium.get(medium, 0.0) + airtime_s
        return waits_s + max(by_medium.values(), default=0.0)

    def snr_db(self, src: str, dst: str) -> float:
        """Return the SNR of the worst hop of a route: infinite from a device to itself, -infinite without a route.

        It is that of mean gains. Left out: fast fading, interference, and that noise adds up over hops.
        """
        if (src, dst) not in self._snr_db:
            self._snr_db[src, dst] = self._worst_db(src, dst)
        return self._snr_db[src, dst]

    def _worst_db(self, src: str, dst: str) -> float:
        try:
            worst = min((self.sinr[link.index] for link in self.topology.route(src, dst)), default=math.inf)
        except NoRouteError:
            return -math.inf
        return 10.0 * math.log10(worst) if worst > 0 else -math.inf
