"""Shadow fading: what obstacles do to the mean received power, alike for links whose ends are near each other."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.laws import UniformDraws

FloatArray = NDArray[np.float64]


def log_normal_db(standard_normal: ArrayLike, std_db: ArrayLike) -> FloatArray:
    """Log-normal shadowing X = σ·Z in dB, to be added to the gain.

    Parameters
    ----------
    standard_normal : array_like
        Standard normal draws Z, such as those of a ``PairField``.
    std_db : array_like
        Standard deviation σ in dB.

    Returns
    -------
    ndarray of float64
        Shadowing in dB, of the broadcast shape, zero-mean in dB (so the mean linear gain exceeds 1).
    """
    return np.asarray(np.asarray(std_db, dtype=np.float64) * np.asarray(standard_normal, dtype=np.float64))


class Phasors(NamedTuple):
    """What a field needs to know of N positions; see ``PairField.phasors``."""

    positions_m: FloatArray
    """Positions [N, 2]."""
    first: FloatArray
    """Cosines, then sines, of k·x + φ [N, 2M]: the position as the first end."""
    second: FloatArray
    """Cosines, then negative sines, of q·x [N, 2M]: the position as the second end."""


class PairField:
    """Standard normal values for pairs of positions, correlated over space; a pure function of the two.

    A sum of M plane waves over both ends, made symmetric and brought to unit variance:

        F(a, b) = √(2/M) Σ_m cos(k_m·a + q_m·b + φ_m)
        S(a, b) = (F(a, b) + F(b, a)) / √(2 (1 + ρ(|a-b|)²)),  ρ(d) = exp(-d/D), or exp(-(d/D)²) if smooth

    So S(a, b) = S(b, a); along the path of one end, far from the other, the correlation is ρ; and
    the links of two pairs of ends that are d and d' apart correlate by ρ(d)·ρ(d'). Where the ends are within
    a few D of each other symmetry raises the correlation; the variance stays 1.

    Parameters
    ----------
    uniform : UniformDraws
        Source of all draws, which are functions of ``name`` and the number of the wave.
    name : str
        Fields of other names are independent.
    decorrelation_m : float
        Distance D over which the correlation falls by e, above 0.
    smooth : bool
        Whether the field is smooth: it then crosses a threshold along clean borders, where the exponential's,
        whose paths are rough, goes to and fro. Meant for states, such as line of sight.
    num_waves : int
        Number of waves M, a multiple of 8.

    Raises
    ------
    ValueError
        ``decorrelation_m`` is not above 0, or ``num_waves`` is not a positive multiple of 8.

    Notes
    -----
    The wave vectors follow the spectral density of ρ in the plane, p(k) = D²/(2π)·(1 + D²k²)^(-3/2), whose radial
    distribution inverts to k = √((1-u)^(-2) - 1)/D (smooth: a normal density, k = 2·√(-ln(1-u))/D). They are the
    points of a Kronecker sequence in four dimensions (both radii and both directions), shifted at random: each is
    exactly so distributed, and together they fill the spectrum more evenly than independent ones. Over seeds, mean,
    variance and correlation are exact. Within one run, that is for one set of waves, M = 256 keeps the correlation
    along a path within 0.02 of ρ (root mean square) and that of links which differ in both ends within 0.04; for
    the former, independent waves would have to be six times as many. A value is the sum of 2M cosines: its excess
    kurtosis is about -2/M, -0.01, which takes a million draws to tell from a normal variable's.

    Heights play no part (TR 38.901 correlates in the horizontal plane).
    """

    def __init__(
        self, uniform: UniformDraws, name: str, *, decorrelation_m: float, smooth: bool = False, num_waves: int = 256
    ) -> None:
        if not decorrelation_m > 0.0:
            raise ValueError(f"decorrelation_m is {decorrelation_m}; it must be above 0")
        if num_waves < 8 or num_waves % 8:
            raise ValueError(f"num_waves is {num_waves}; it must be a positive multiple of 8")
        self.decorrelation_m = decorrelation_m
        self.smooth = smooth
        self._num_waves = num_waves
        waves = np.arange(num_waves)
        points = (waves * _KRONECKER[:, None] + uniform(f"{name}/waves", np.arange(4))[:, None]) % 1.0
        self._first_waves = self._wave_vectors(points[0], points[1])
        self._second_waves = self._wave_vectors(points[2], points[3])
        self._phases = 2.0 * np.pi * uniform(f"{name}/phases", waves)

    def _wave_vectors(self, radius: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray]:
        turns = 2.0 * np.sqrt(-np.log1p(-radius)) if self.smooth else np.sqrt((1.0 - radius) ** -2 - 1.0)
        wave_number = turns / self.decorrelation_m
        return wave_number * np.cos(2.0 * np.pi * direction), wave_number * np.sin(2.0 * np.pi * direction)

    def phasors(self, positions_m: ArrayLike) -> Phasors:
        """Return what the field needs to know of positions [N, 2], to be used in many calls of ``matrix``."""
        positions = np.asarray(positions_m, dtype=np.float64)
        x_m, y_m = positions[:, :1], positions[:, 1:]
        first = x_m * self._first_waves[0] + y_m * self._first_waves[1] + self._phases
        second = x_m * self._second_waves[0] + y_m * self._second_waves[1]
        return Phasors(
            positions,
            np.concatenate((np.cos(first), np.sin(first)), axis=1),
            np.concatenate((np.cos(second), -np.sin(second)), axis=1),
        )

    def matrix(self, a: ArrayLike | Phasors, b: ArrayLike | Phasors) -> FloatArray:
        """Return the values of every pair of a first and a second position.

        Parameters
        ----------
        a, b : array_like [A, 2] and [B, 2], or Phasors
            Positions in m, or what ``phasors`` made of them.

        Returns
        -------
        ndarray of float64 [A, B]
            Equal to ``at`` but for rounding (1e-12), which may depend on the shape.
        """
        a_waves = a if isinstance(a, Phasors) else self.phasors(a)
        b_waves = a_waves if b is a else b if isinstance(b, Phasors) else self.phasors(b)
        values = a_waves.first @ b_waves.second.T
        for start in range(0, len(values), _MATRIX_ROWS):
            rows = slice(start, start + _MATRIX_ROWS)
            offsets_m = a_waves.positions_m[rows, None] - b_waves.positions_m
            values[rows] += a_waves.second[rows] @ b_waves.first.T
            values[rows] *= self._scale(offsets_m)
        return np.asarray(values)

    def at(self, a_m: ArrayLike, b_m: ArrayLike) -> FloatArray:
        """Return the values of pairs of positions.

        Parameters
        ----------
        a_m, b_m : array_like [..., 2]
            Positions of the two ends; they broadcast.

        Returns
        -------
        ndarray of float64 [...]
            Each value is, to the last bit, a function of its own pair only, and of its ends in either order.

        Notes
        -----
        Positions that recur within a thousand pairs, as nodes do when all links of some times are asked, cost
        their sines once.
        """
        a, b = np.broadcast_arrays(np.asarray(a_m, dtype=np.float64), np.asarray(b_m, dtype=np.float64))
        shape = a.shape[:-1]
        a, b = a.reshape(-1, 2), b.reshape(-1, 2)
        values = np.empty(len(a))
        for start in range(0, len(a), _PAIRS):
            pairs = slice(start, start + _PAIRS)
            values[pairs] = self._some(a[pairs], b[pairs])
        return values.reshape(shape)

    def _some(self, a_m: FloatArray, b_m: FloatArray) -> FloatArray:
        ends = np.concatenate((a_m, b_m))
        distinct, where = np.unique(ends[:, 0] + 1j * ends[:, 1], return_inverse=True)
        waves = self.phasors(np.stack((distinct.real, distinct.imag), axis=1))
        a, b = np.split(where, 2)
        # einsum, not a matrix product: BLAS would round by the shape of the batch
        forth = np.einsum("pw,pw->p", waves.first[a], waves.second[b])
        back = np.einsum("pw,pw->p", waves.first[b], waves.second[a])
        return np.asarray((forth + back) * self._scale(a_m - b_m))

    def _scale(self, offsets_m: FloatArray) -> FloatArray:
        """Return 1/√(M·(1 + ρ²)) at offsets [..., 2]."""
        distance_m = np.hypot(offsets_m[..., 0], offsets_m[..., 1])
        relative = distance_m / self.decorrelation_m
        rho_squared = np.exp(-2.0 * (relative**2 if self.smooth else relative))
        return np.asarray(1.0 / np.sqrt(self._num_waves * (1.0 + rho_squared)))


def _kronecker_steps(dimensions: int) -> FloatArray:
    """Return the powers 1/g, 1/g², … of the root g of g^(n+1) = g + 1, the golden ratio's kin in n dimensions."""
    root = 1.0
    for _ in range(64):
        root = math.pow(1.0 + root, 1.0 / (dimensions + 1))
    return np.asarray(root ** -np.arange(1.0, dimensions + 1.0))


_KRONECKER = _kronecker_steps(4)
_MATRIX_ROWS = 256
_PAIRS = 1024
