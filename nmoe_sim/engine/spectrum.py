"""Who shares what: the medium of every link, and the band of every medium.

Transfers on one *medium* are coordinated: they take turns, or parts of its band. Media on one *band* are
not: they interfere. A wire is a medium of its own and on no band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.links import Node
from nmoe_sim.engine.topology import Topology
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

    On a hexagonal grid of sites, parts repeat as classical cell planning has it, at a distance of √N times that of
    neighbours, where N, the factor over the number of sectors a site, is i² + i·j + j². Else stations choose in
    order: the part whose nearest user is farthest away, the first of equals.
    """
    xy_m = np.array([(s.x_m, s.y_m) for s in stations], dtype=np.float64).reshape(-1, 2)
    sites, site = np.unique(np.round(xy_m, 3), axis=0, return_inverse=True)
    num_sectors = int(np.bincount(site).max(initial=1))
    if reuse_factor % num_sectors == 0 and (planned := _planned(sites, reuse_factor // num_sectors)) is not None:
        sector = [int(np.count_nonzero(site[:i] == site[i])) for i in range(len(site))]
        return [int(planned[k]) * num_sectors + j for k, j in zip(site.tolist(), sector, strict=True)]
    chosen: list[int] = []
    for i in range(len(stations)):
        nearest_m = np.full(reuse_factor, np.inf)
        for j, colour in enumerate(chosen):
            nearest_m[colour] = min(nearest_m[colour], float(np.hypot(*(xy_m[i] - xy_m[j]))))
        chosen.append(int(np.argmax(np.round(nearest_m, 6))))
    return chosen


def _planned(sites_m: NDArray[np.float64], num_parts: int) -> NDArray[np.int64] | None:
    """Return the part of each site [S] of a hexagonal grid; None where there is no grid, or no such pattern.

    With steps u along one axis of the grid and v along the axis 60° from it, sites that are i steps along one and j
    steps 60° from there apart have the same part: those with the same (u, v) modulo that lattice.
    """
    shifts = [(i, j) for i in range(1, num_parts + 1) for j in range(i + 1) if i * i + i * j + j * j == num_parts]
    if len(sites_m) < 2 or not shifts:
        return np.zeros(len(sites_m), np.int64) if num_parts == 1 else None
    i, j = shifts[0]
    offset_m = sites_m - sites_m[0]
    near = offset_m[1:][np.argmin(np.hypot(*offset_m[1:].T))]
    turned = np.array([near[0] - np.sqrt(3) * near[1], np.sqrt(3) * near[0] + near[1]]) / 2
    steps = np.linalg.solve(np.column_stack([near, turned]), offset_m.T)
    if np.abs(steps - np.rint(steps)).max() > 1e-3:
        return None
    u, v = np.rint(steps).astype(np.int64)
    # coordinates in the lattice of (i, j) and (-j, i + j): whole numbers of them don't change the part
    a, b = ((i + j) * u + j * v) % num_parts, (i * v - j * u) % num_parts
    _, part = np.unique(a * num_parts + b, return_inverse=True)
    return np.asarray(part, np.int64)
