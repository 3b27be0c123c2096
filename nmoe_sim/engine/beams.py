"""Antennas of nodes: what a node's antenna, its beam at one node, gives in the direction of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from channels.laws import AntennaLaw
from channels.sites import Sites
from channels.units import db_to_linear

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Beams:
    """Antenna gains between nodes.

    A node points its best beam at whom it talks to; so an interferer is heard with the beam it points at
    its own peer, by the beam the receiver points at its own. Beams follow positions without delay or error.

    Parameters
    ----------
    sites : Sites
    azimuth_deg : ndarray of float64 [N]
        Boresight of each node, counter-clockwise from east.
    station_antenna, device_antenna : AntennaLaw
    """

    def __init__(
        self, sites: Sites, azimuth_deg: FloatArray, station_antenna: AntennaLaw, device_antenna: AntennaLaw
    ) -> None:
        self._sites = sites
        self._azimuth_rad = np.deg2rad(azimuth_deg)
        self._laws = ((~sites.is_station, device_antenna), (sites.is_station, station_antenna))

    def gain(self, at: IntArray, peer: IntArray, towards: IntArray, t_s: float) -> FloatArray:
        """Return the gain of the antennas of nodes ``at``, beams at ``peer``, towards nodes ``towards``; linear.

        The arguments are of one shape; a gain from a node to itself is of no meaning.
        """
        xy_m = self._sites.at([t_s])[0]
        gain_db = np.empty(at.shape)
        for of_kind, law in self._laws:
            here = of_kind[at]
            if here.any():
                nodes = at[here]
                beam = law.beam_towards(*self._direction(xy_m, nodes, peer[here]))
                gain_db[here] = law.gain_db(beam, *self._direction(xy_m, nodes, towards[here]))
        return db_to_linear(gain_db)

    def link_gain(self, src: IntArray, dst: IntArray, t_s: float) -> FloatArray:
        """Return the gain of both antennas of links [n], beams at each other; linear."""
        return np.asarray(self.gain(src, dst, dst, t_s) * self.gain(dst, src, src, t_s))

    def direction(self, of: IntArray, to: IntArray, t_s: float) -> tuple[FloatArray, FloatArray]:
        """Return azimuths of nodes ``to`` from the boresights of nodes ``of``, and elevations above the horizon."""
        return self._direction(self._sites.at([t_s])[0], of, to)

    def _direction(self, xy_m: FloatArray, of: IntArray, to: IntArray) -> tuple[FloatArray, FloatArray]:
        east_m, north_m = np.moveaxis(xy_m[to] - xy_m[of], -1, 0)
        up_m = self._sites.heights_m[to] - self._sites.heights_m[of]
        return np.arctan2(north_m, east_m) - self._azimuth_rad[of], np.arctan2(up_m, np.hypot(east_m, north_m))
