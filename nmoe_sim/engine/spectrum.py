"""Who shares what: the medium of every link, and the band of every medium.

Transfers on one *medium* are coordinated: they take turns, or parts of its band. Media on one *band* are
not: they interfere. A wire is a medium of its own and on no band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nmoe_sim.engine.topology import Node, Topology
from nmoe_sim.scenario.scenario import RadioSection


@dataclass(frozen=True)
class Allocation:
    """Medium and band of a link."""

    medium: str
    """Name of the medium, as in the table ``transfers``."""
    band: str | None
    """Media of one band interfere; None: a wire."""
    bandwidth_hz: float
    """Bandwidth of the medium."""


def allocate(topology: Topology, radio: RadioSection) -> list[Allocation]:
    """Return the allocation of every link, in order.

    With one base station, or none, media are ``uplink``, ``downlink`` and ``sidelink``, or ``shared`` where
    ``radio.duplex`` is half. With several, each has media of its own, on one of ``radio.reuse_factor`` equal
    parts of the band (see ``colours``). Concurrent sidelinks are a medium of each transmitter.
    """
    colour = dict(zip(topology.base_stations, colours(topology.base_stations, radio.reuse_factor), strict=True))
    many = len(topology.base_stations) > 1
    part_hz = radio.bandwidth_hz / radio.reuse_factor
    allocations = []
    for link in topology.links:
        if link.wired is not None:
            allocations.append(Allocation(f"wired:{link.src.name}>{link.dst.name}", None, 0.0))
            continue
        direction = "shared" if radio.duplex == "half" else link.medium
        if link.medium == "sidelink":
            concurrent = radio.sidelinks == "concurrent"
            name = f"sidelink:{link.src.name}" if concurrent else direction
            allocations.append(Allocation(name, direction, radio.bandwidth_hz))
            continue
        station = link.dst if link.dst.kind == "base_station" else link.src
        name = f"{direction}:{station.name}" if many else direction
        allocations.append(Allocation(name, f"{direction}/{colour[station]}" if many else direction, part_hz))
    return allocations


def colours(stations: Sequence[Node], reuse_factor: int) -> list[int]:
    """Return which part of the band each base station uses.

    Stations choose in order: the part whose nearest user is farthest away, the first of equals; co-located
    sectors so get different parts while there are any. On a hexagonal grid a factor of 3 is the usual pattern.
    """
    xy_m = np.array([(s.x_m, s.y_m) for s in stations], dtype=np.float64).reshape(-1, 2)
    chosen: list[int] = []
    for i in range(len(stations)):
        nearest_m = np.full(reuse_factor, np.inf)
        for j, colour in enumerate(chosen):
            nearest_m[colour] = min(nearest_m[colour], float(np.hypot(*(xy_m[i] - xy_m[j]))))
        chosen.append(int(np.argmax(np.round(nearest_m, 6))))
    return chosen
