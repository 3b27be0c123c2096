"""Several base stations on a hexagonal grid."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.topologies.base import Metres, WithBaseStations, pairs_within
from nmoe_sim.engine.topology import Topology, check_num_links
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec

_AZIMUTHS_DEG = (30.0, 150.0, 270.0)


class Backhaul(Spec):
    """The cable of a base station. The defaults are like the better fibre access of TR 36.932, section 6.1.3."""

    capacity_bps: Positive = 1e9
    """Capacity in each direction."""
    delay_s: Annotated[float, Field(ge=0, le=60)] = 2e-3
    """Delay in each direction."""


class MultiCell(WithBaseStations):
    """Base stations on a hexagonal grid, devices uniform over the area of the cells.

    A site stands in the middle of its hexagon, the points nearest to it. Around the first site come 6 at
    ``inter_site_distance_m``, in the directions 30°, 90°, …, and then 12; 3 sites are the first three, a triangle.
    A site is one base station, or three sectors, whose antennas look at 30°, 150° and 270° counterclockwise from
    east, as in 3GPP evaluations, towards other sites.

    A device can attach to any base station. Every base station but the first has a cable to the first, ``bs0``,
    where the core network is; base stations reach each other over it.
    """

    kind: ClassVar[str] = "multi_cell"

    num_sites: Literal[1, 3, 7, 19] = 7
    """Sites."""
    num_sectors: Literal[1, 3] = 1
    """Base stations a site."""
    inter_site_distance_m: Positive = 200.0
    """Distance of neighbouring sites (TR 38.901, table 7.2-1, UMi: 200 m, UMa: 500 m)."""
    min_distance_m: Positive = 10.0
    """Nearest a device starts to a site (TR 38.901 UMi: 10 m)."""
    sidelink_range_m: Positive | None = None
    """Devices at most this far apart have a direct link too; null: none have."""
    backhaul: Backhaul = Backhaul()
    """The cable of each base station to ``bs0``."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class; device i is drawn from ("position", i, …)."""
        if self.min_distance_m >= self.inter_site_distance_m / 2:
            raise InputError(
                f"{self.min_distance_m:g} m leaves no room in cells of {self.inter_site_distance_m:g} m; "
                "make it less than half of topology.inter_site_distance_m",
                key="topology.min_distance_m",
            )
        sites_m = hexagonal_sites(self.num_sites, self.inter_site_distance_m)
        azimuths_deg: tuple[float | None, ...] = _AZIMUTHS_DEG if self.num_sectors == 3 else (None,)
        stations = [
            Node(f"bs{self.num_sectors * i + j}", "base_station", float(x), float(y), azimuth_deg)
            for i, (x, y) in enumerate(sites_m)
            for j, azimuth_deg in enumerate(azimuths_deg)
        ]
        count = 2 * self.num_devices * len(stations)
        check_num_links(count, f"of {self.num_devices} devices to {len(stations)} base stations")
        devices = self._nodes(self._devices_m(streams, sites_m))
        extra = pairs_within(devices, self.sidelink_range_m) if self.sidelink_range_m else []
        cable = Wired(self.backhaul.capacity_bps, self.backhaul.delay_s)
        reach_m = self.inter_site_distance_m * np.array([1 / math.sqrt(3), 0.5])  # of a hexagon, east and north
        return Topology(
            [*devices, *stations],
            [*((device.name, station.name) for device in devices for station in stations), *extra],
            [(station.name, stations[0].name, cable) for station in stations[1:]],
            bounds_m=(*(sites_m.min(axis=0) - reach_m).tolist(), *(sites_m.max(axis=0) + reach_m).tolist()),
            sidelink_range_m=self.sidelink_range_m,
        )

    def _devices_m(self, streams: RandomStreams, sites_m: Metres) -> Metres:
        index = np.arange(self.num_devices)
        site = (len(sites_m) * streams.uniform("position", index, 0)).astype(np.int64)
        offset_m = np.empty((len(index), 2))
        draw = 0
        while len(index):  # those that come too close to their site, which is the nearest, are drawn again
            offset_m[index] = self.inter_site_distance_m * _in_hexagon(streams, index, draw)
            index = index[np.hypot(*offset_m[index].T) < self.min_distance_m]
            draw += 1
        return np.asarray(sites_m[site] + offset_m)


def hexagonal_sites(num_sites: int, inter_site_distance_m: float) -> Metres:
    """Return the first sites [num_sites, 2] of a hexagonal grid, ring by ring, counterclockwise from 30°."""
    steps = np.arange(-2, 3)
    u, v = (axis.ravel() for axis in np.meshgrid(steps, steps))
    x, y = math.sqrt(3) / 2 * u, 0.5 * u + v  # along 30° and 90°
    ring = np.maximum(np.maximum(np.abs(u), np.abs(v)), np.abs(u + v))
    angle = np.round((np.arctan2(y, x) - np.pi / 6) % (2 * np.pi), 9) % round(2 * np.pi, 9)
    first = np.lexsort((angle, ring))[:num_sites]
    return inter_site_distance_m * np.column_stack([x[first], y[first]])


def _in_hexagon(streams: RandomStreams, index: np.ndarray[tuple[int], np.dtype[np.int64]], draw: int) -> Metres:
    """Return places [len(index), 2] uniform over the hexagon whose sides are 1/2 from the origin."""
    # a hexagon is three rhombi, each spanned by two corners 120° apart
    rhombus, a, b = (streams.uniform("position", index, axis, draw) for axis in (1, 2, 3))
    corner = 2 * np.pi / 3 * np.floor(3 * rhombus)
    x, y = (a * f(corner) + b * f(corner + 2 * np.pi / 3) for f in (np.cos, np.sin))
    return np.column_stack([x, y]) / math.sqrt(3)
