"""What a routing policy knows of the network: a snapshot with an age, never the present."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from simpy.events import Event

from nmoe_sim.engine.outlook import Outlook
from nmoe_sim.engine.simulation import Simulation


@dataclass(frozen=True)
class NetworkView:
    """The network as it was at ``t_s``."""

    t_s: float
    """When the snapshot was taken."""
    hosts: tuple[str, ...]
    """Host of each expert."""
    backlog_s: Mapping[str, float]
    """Seconds of work that waited in each device's queue."""
    _outlook: Outlook = field(repr=False)

    def mean_delay_s(self, src: str, dst: str, n_bytes: int, *, analog: bool = False) -> float:
        """Return the time of a payload over the route of then, at mean SNR, without contention."""
        return self._outlook.delay_s(src, dst, n_bytes, analog=analog)

    def snr_db(self, src: str, dst: str) -> float:
        """Return the mean SNR of the route of then, of its worst hop: inf on one device, -inf without a route."""
        return self._outlook.snr_db(src, dst)


class NetworkMonitor:
    """Takes a snapshot every ``period_s`` from the first time a policy asks for one.

    The first view is that of the monitor's start; no view is newer than the last tick.

    Parameters
    ----------
    simulation : Simulation
    hosts : tuple of str
        Host of each expert.
    period_s : float
        Time between snapshots; 0: a view is as of now.
    """

    def __init__(self, simulation: Simulation, hosts: tuple[str, ...], period_s: float) -> None:
        self._simulation = simulation
        self._hosts = hosts
        self._period_s = period_s
        self._view = self._snapshot()
        self._ticking = False
        self._stopped = False

    def view(self) -> NetworkView:
        """Return the latest snapshot."""
        if not self._period_s:
            return self._snapshot()
        if not self._ticking:
            self._ticking = True
            self._simulation.env.process(self._tick())
        return self._view

    def stop(self) -> None:
        """Take no more snapshots."""
        self._stopped = True

    def _tick(self) -> Generator[Event, None, None]:
        env = self._simulation.env
        while not self._stopped:
            yield env.timeout(self._period_s)
            self._view = self._snapshot()

    def _snapshot(self) -> NetworkView:
        backlog_s = {name: device.backlog_s() for name, device in self._simulation.devices.items()}
        return NetworkView(self._simulation.env.now, self._hosts, backlog_s, self._simulation.outlook())
