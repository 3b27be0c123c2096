"""What a routing policy knows of the network: a snapshot with an age, never the present."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    _simulation: Simulation = field(repr=False)

    def mean_delay_s(self, src: str, dst: str, n_bytes: int) -> float:
        """Return the time of a payload at mean SNR, without contention (long-term knowledge)."""
        return self._simulation.mean_delay_s(src, dst, n_bytes)


class NetworkMonitor:
    """Takes snapshots, at most one each ``period_s``, when a policy asks for one.

    Parameters
    ----------
    simulation : Simulation
    hosts : tuple of str
        Host of each expert.
    period_s : float
        A view is at most this old; 0: as of now.
    """

    def __init__(self, simulation: Simulation, hosts: tuple[str, ...], period_s: float) -> None:
        self._simulation = simulation
        self._hosts = hosts
        self._period_s = period_s
        self._view = self._snapshot()

    def view(self) -> NetworkView:
        """Return the latest snapshot, a new one if that is older than the period."""
        if self._simulation.env.now - self._view.t_s >= self._period_s:
            self._view = self._snapshot()
        return self._view

    def _snapshot(self) -> NetworkView:
        backlog_s = {name: device.backlog_s() for name, device in self._simulation.devices.items()}
        return NetworkView(self._simulation.env.now, self._hosts, backlog_s, self._simulation)
