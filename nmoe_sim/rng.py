"""Named random streams: every draw is a function of the seed, a name and counters.

No draw depends on the order of calls, so two policies compared on one seed see the same channels,
arrivals and data (common random numbers), whatever else each of them draws.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFTS = tuple(np.uint64(s) for s in (30, 27, 31, 12))


def _mix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 output function (Steele, Lea and Flood 2014), in place."""
    x ^= x >> _SHIFTS[0]
    x *= _MIX_1
    x ^= x >> _SHIFTS[1]
    x *= _MIX_2
    x ^= x >> _SHIFTS[2]
    return x


class RandomStreams:
    """All randomness of a run.

    Parameters
    ----------
    seed : int
        The scenario's seed, at least 0.
    purpose : str
        Streams of one name but another purpose are independent.

    Notes
    -----
    ``uniform`` walks one SplitMix64 sequence per counter: the first counter picks a position in the
    stream of ``name``, the value found there starts the stream of the next counter, and so on.
    Large one-off draws (permutations, Dirichlet shares) use NumPy's Philox through ``generator``.
    """

    def __init__(self, seed: int, purpose: str = "") -> None:
        self.seed = seed
        self._purpose = purpose

    def _key(self, name: str, *counters: int) -> int:
        text = "/".join([str(self.seed), self._purpose + name, *map(str, counters)])
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")

    def uniform(self, name: str, *counters: ArrayLike) -> NDArray[np.float64]:
        """Uniform draws on (0, 1), one for each element of the broadcast counters.

        Parameters
        ----------
        name : str
            What is drawn, such as ``"fading"``.
        *counters : array_like of int
            What it is drawn for, such as link and coherence block; broadcast against each other.

        Returns
        -------
        ndarray of float64
            Shape of the broadcast counters; never exactly 0 or 1.
        """
        x = np.array([self._key(name) & 0xFFFF_FFFF_FFFF_FFFF], dtype=np.uint64)
        for counter in counters:
            steps = np.atleast_1d(counter).astype(np.uint64) + np.uint64(1)
            x = _mix64(np.atleast_1d(x + steps * _GOLDEN))
        shape = np.broadcast_shapes(*(np.shape(c) for c in counters))
        unit: NDArray[np.float64] = ((x >> _SHIFTS[3]).astype(np.float64) + 0.5) * 2.0**-52
        return unit.reshape(shape)

    def normal(self, name: str, *counters: ArrayLike) -> NDArray[np.float64]:
        """Draw standard normals, by inversion of ``uniform``."""
        from scipy.special import ndtri

        return np.asarray(ndtri(self.uniform(name, *counters)))

    def exponential(self, name: str, *counters: ArrayLike) -> NDArray[np.float64]:
        """Draw exponentials of mean 1, by inversion of ``uniform``."""
        return -np.log(self.uniform(name, *counters))

    def generator(self, name: str, *counters: int) -> np.random.Generator:
        """Return a NumPy generator of its own for one large draw (10 µs to build)."""
        return np.random.Generator(np.random.Philox(key=self._key(name, *counters)))

    def seed_of(self, name: str, *counters: int) -> int:
        """Return 63 random bits to seed another library's generator with."""
        return self._key(name, *counters) & 0x7FFF_FFFF_FFFF_FFFF
