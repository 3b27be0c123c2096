"""Gains between links: from the sender of one to the receiver of another, in one coherence block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.ether import Ether

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_SPARE = 64
"""Links that may be kept beside those that are asked for."""


class Crosstalk:
    """What links hear of each other, worked out once a pair and block.

    From one event to the next nearly the same links are active, so of n x n gains few are new.

    Parameters
    ----------
    ether : Ether
    sender, receiver : ndarray of int64 [L]
        Nodes at the ends of each link.
    """

    def __init__(self, ether: Ether, sender: IntArray, receiver: IntArray) -> None:
        self._ether = ether
        self._sender = sender
        self._receiver = receiver
        self._block = -1
        self._place: dict[int, int] = {}
        self._known: FloatArray = np.empty((0, 0, 1))

    def gains(self, links: IntArray, heard: BoolArray, block: int) -> FloatArray:
        """Return the gains from the sender of link j to the receiver of link i, antennas included, [n, n, K].

        Parameters
        ----------
        links : ndarray of int64 [n]
        heard : ndarray of bool [n, n]
            Which are wanted, at least one; of the others nothing is said.
        block : int
            Each node's beam points at the other end of its own link at the start of this block.
        """
        if block != self._block or len(self._place) > len(links) + _SPARE:
            self._block = block
            self._place.clear()
            self._known[:] = np.nan
        at = np.array([self._place.setdefault(link, len(self._place)) for link in links.tolist()])
        self._make_room(len(self._place), self._known.shape[2])
        gains = self._known[at[:, None], at]
        j, i = np.nonzero(heard & np.isnan(gains[..., 0]))
        if len(j):
            new = self._between(links[j], links[i], block)
            if new.shape[1] != gains.shape[2]:  # the first ones, in sub-bands
                self._make_room(len(self._known), new.shape[1])
                gains = self._known[at[:, None], at]
            self._known[at[j], at[i]] = gains[j, i] = new
        return np.asarray(gains)

    def _make_room(self, num_links: int, num_subbands: int) -> None:
        """Have room for so many links; what is known stays, unless the sub-bands were unknown."""
        size, known_subbands = len(self._known), self._known.shape[2]
        if num_links > size or num_subbands != known_subbands:
            size = size if num_links <= size else num_links + _SPARE
            grown = np.full((size, size, num_subbands), np.nan)
            if num_subbands == known_subbands:
                grown[: len(self._known), : len(self._known)] = self._known
            self._known = grown

    def _between(self, loud: IntArray, listening: IntArray, block: int) -> FloatArray:
        """Return the gains from the senders of links [m] to the receivers of other links [m], [m, K]."""
        src, aim = self._sender[loud], self._receiver[loud]
        dst, peer = self._receiver[listening], self._sender[listening]
        gain = self._ether.gains.at(src, dst, block)
        if self._ether.beams is not None:
            beams, t_s = self._ether.beams, self._ether.time_of(block)
            gain = gain * (beams.gain(src, aim, dst, t_s) * beams.gain(dst, peer, src, t_s))[:, None]
        return np.asarray(gain)
