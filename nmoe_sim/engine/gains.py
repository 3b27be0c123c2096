"""Gains of node pairs in coherence blocks, drawn when they are asked for, many blocks at a time."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from channels.channel import Propagation
from nmoe_sim.engine.radio.channel import refuse_nan

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHUNK = 65_536
"""Gains drawn in one call: pairs x blocks."""
SHORTEST, LONGEST = 16, 256
"""Blocks of a window, as far as ``CHUNK`` allows."""


class GainCache:
    """What ``Propagation.power_gain`` says, of the pairs in use and a window of blocks.

    Gains are functions of pair and block, so what is cached changes no value. A pair is drawn when first
    asked for, and from then on with each new window, until a window goes by without it. A window is twice as
    long as the number of blocks that were needed of the last one: where links are idle in between, few are.

    Parameters
    ----------
    propagation : Propagation
    num_nodes : int
        Nodes are numbered 0 to ``num_nodes`` - 1.
    lookback : int
        Blocks before the present one that are asked for too.
    """

    def __init__(self, propagation: Propagation, num_nodes: int, lookback: int = 0) -> None:
        self._propagation = propagation
        self._num_nodes = num_nodes
        self._lookback = lookback
        self._static = math.isinf(propagation.block_s)
        self._first = 0
        self._count = 0
        self._newest = 0
        self._num_needed = 0
        self._keys: IntArray = np.empty(0, np.int64)
        self._used: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._gains: FloatArray = np.empty((0, 0, 1))

    def at(self, src: IntArray, dst: IntArray, block: int) -> FloatArray:
        """Return the gains of pairs [n] in one block, [n, K], linear.

        Raises
        ------
        RunError
            If the channel doesn't know one of them.
        """
        keys = src * self._num_nodes + dst
        if self._static:
            block = 0
        if not self._first <= block < self._first + self._count:
            self._open_window(block)
        if block > self._newest:
            self._newest = block
            self._num_needed += 1
        rows = self._rows(keys, block)
        self._used[rows] = True
        gains = np.asarray(self._gains[rows, block - self._first])
        refuse_nan(self._propagation, src, dst, 0.0 if self._static else block * self._propagation.block_s, gains)
        return gains

    def _open_window(self, block: int, num_new: int = 0) -> None:
        self._keys = self._keys[self._used]
        most = max(1, CHUNK // max(1, len(self._keys) + num_new))
        length = self._lookback + min(LONGEST, max(SHORTEST, 2 * self._num_needed))
        self._first = max(0, block - self._lookback)
        self._count = 1 if self._static else max(self._lookback + 1, min(length, most))
        self._newest, self._num_needed = block, 1
        self._used = np.zeros(len(self._keys), np.bool_)
        self._gains = self._draw(self._keys)

    def _draw(self, keys: IntArray) -> FloatArray:
        blocks = np.arange(self._first, self._first + self._count)
        src, dst = np.divmod(keys, self._num_nodes)
        return np.ascontiguousarray(np.moveaxis(self._propagation.power_gain(src, dst, blocks), 0, 1))

    def _rows(self, keys: IntArray, block: int) -> IntArray:
        """Return where pairs stand, drawing those that are new."""
        rows = np.searchsorted(self._keys, keys)
        found = rows < len(self._keys)
        found[found] = self._keys[rows[found]] == keys[found]
        if found.all():
            return rows
        new = np.unique(keys[~found])
        if self._count > 1 and (len(self._keys) + len(new)) * self._count > 2 * CHUNK:
            self._used[rows[found]] = True
            self._open_window(block, len(new))
        where = np.searchsorted(self._keys, new)
        drawn = self._draw(new)
        self._gains = np.insert(self._gains, where, drawn, axis=0) if len(self._keys) else drawn
        self._used = np.insert(self._used, where, False)
        self._keys = np.insert(self._keys, where, new)
        return np.searchsorted(self._keys, keys)
