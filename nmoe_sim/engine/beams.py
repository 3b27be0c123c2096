"""Antennas of nodes: what a node's antenna, its beam at one node, gives in the direction of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.laws import AntennaLaw
from channels.memo import Memo
from channels.sites import Sites
from channels.units import db_to_linear

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Beams:
    """Antenna gains between nodes.

    A node points its best beam at whom it talks to; so an interferer is heard with the beam it points at
    its own peer, by the beam the receiver points at its own. A node without an azimuth turns its whole antenna
    there, as if it had one on every side; only azimuths turn, not downtilts. Beams follow positions without
    delay or error.

    Parameters
    ----------
    sites : Sites
    azimuth_deg : ndarray of float64 [N]
        Boresight of each node, counter-clockwise from east; nan: none.
    station_antenna, device_antenna : AntennaLaw
    """

    def __init__(
        self, sites: Sites, azimuth_deg: FloatArray, station_antenna: AntennaLaw, device_antenna: AntennaLaw
    ) -> None:
        self._sites = sites
        self._azimuth_rad = np.deg2rad(azimuth_deg)
        self._laws = ((~sites.is_station, device_antenna), (sites.is_station, station_antenna))
        self._gains, self._link_gains = Memo(self._gain), Memo(self._link_gain)

    def gain(self, at: IntArray, peer: IntArray, towards: IntArray, t_s: ArrayLike) -> FloatArray:
        """Return the gain of the antennas of nodes ``at``, beams at ``peer``, towards nodes ``towards``; linear.

        The arguments broadcast; a gain from a node to itself is of no meaning.
        """
        keys = self._keys(t_s, at, peer, towards)
        return self._gains(keys.ravel()).reshape(keys.shape)

    def _keys(self, t_s: ArrayLike, *nodes: IntArray) -> IntArray:
        """Return looks and nodes written as one number each."""
        keys = np.int64(0) if self._sites.is_static else self._sites.look(t_s)  # one look for all times
        for node in nodes:
            keys = keys * len(self._sites) + node
        return np.asarray(keys)

    def _gain(self, keys: IntArray) -> FloatArray:
        """Return the gains of looks, nodes, peers and directions that are written as one number."""
        num_nodes = len(self._sites)
        rest, towards = np.divmod(keys, num_nodes)
        rest, peer = np.divmod(rest, num_nodes)
        looks, at = np.divmod(rest, num_nodes)
        gain_db = np.empty(len(keys))
        for look in np.unique(looks).tolist():
            xy_m = self._sites.positions_m(self._sites.look_s([look]))[0]
            for of_kind, law in self._laws:
                here = (looks == look) & of_kind[at]
                if here.any():
                    nodes = at[here]
                    peer_azimuth_rad, peer_elevation_rad = self._direction(xy_m, nodes, peer[here])
                    azimuth_rad, elevation_rad = self._direction(xy_m, nodes, towards[here])
                    boresight_rad = self._azimuth_rad[nodes]
                    boresight_rad = np.where(np.isnan(boresight_rad), peer_azimuth_rad, boresight_rad)
                    beam = law.beam_towards(peer_azimuth_rad - boresight_rad, peer_elevation_rad)
                    gain_db[here] = law.gain_db(beam, azimuth_rad - boresight_rad, elevation_rad)
        return db_to_linear(gain_db)

    def link_gain(self, src: IntArray, dst: IntArray, t_s: ArrayLike) -> FloatArray:
        """Return the gain of both antennas of links [n], beams at each other, linear; [T, n] at times [T, 1]."""
        keys = self._keys(t_s, src, dst)
        return self._link_gains(keys.ravel()).reshape(keys.shape)

    def _link_gain(self, keys: IntArray) -> FloatArray:
        looks_src, dst = np.divmod(keys, len(self._sites))
        looks, src = np.divmod(looks_src, len(self._sites))
        t_s = self._sites.look_s(looks)
        return np.asarray(self.gain(src, dst, dst, t_s) * self.gain(dst, src, src, t_s))

    def direction(self, of: IntArray, to: IntArray, t_s: float) -> tuple[FloatArray, FloatArray]:
        """Return azimuths in which nodes ``of`` see nodes ``to``, from east, and elevations above the horizon."""
        return self._direction(self._sites.at([t_s])[0], of, to)

    def _direction(self, xy_m: FloatArray, of: IntArray, to: IntArray) -> tuple[FloatArray, FloatArray]:
        offset_m = xy_m[to] - xy_m[of]
        east_m, north_m = offset_m[..., 0], offset_m[..., 1]
        up_m = self._sites.heights_m[to] - self._sites.heights_m[of]
        return np.arctan2(north_m, east_m), np.arctan2(up_m, np.hypot(east_m, north_m))
