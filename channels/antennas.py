"""Antenna patterns: the sector element of TR 38.901 and planar arrays with a DFT codebook.

Directions are azimuth and elevation in radians: azimuth 0 is the boresight and grows to its left (anticlockwise from
above), elevation is 0 at the horizon and positive above it. Polarisation is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def tilted(azimuth_rad: ArrayLike, elevation_rad: ArrayLike, downtilt_rad: float) -> tuple[FloatArray, FloatArray]:
    """Directions as a mechanically tilted antenna sees them.

    Parameters
    ----------
    azimuth_rad, elevation_rad : array_like
        Directions relative to the boresight's azimuth and the horizon.
    downtilt_rad : float
        Angle of the boresight below the horizon.

    Returns
    -------
    azimuth_rad, elevation_rad : ndarray of float64
        Directions relative to the tilted boresight, of the broadcast shape.

    Notes
    -----
    A rotation about the horizontal axis across the boresight: TR 38.901, section 7.1.3, for slant 0.
    """
    azimuth, elevation = np.broadcast_arrays(_float(azimuth_rad), _float(elevation_rad))
    if downtilt_rad == 0.0:  # azimuths stay as they are, even straight up
        return azimuth, elevation
    x, y, z = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)
    cos, sin = np.cos(downtilt_rad), np.sin(downtilt_rad)
    x, z = x * cos - z * sin, x * sin + z * cos
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


def sector_gain_db(
    azimuth_rad: ArrayLike,
    elevation_rad: ArrayLike,
    *,
    max_gain_dbi: float = 8.0,
    horizontal_beamwidth_rad: float = np.deg2rad(65.0),
    vertical_beamwidth_rad: float = np.deg2rad(65.0),
    front_to_back_db: float = 30.0,
) -> FloatArray:
    """Gain of a sector element; the defaults are the element of TR 38.901, Table 7.3-1.

    Parameters
    ----------
    azimuth_rad, elevation_rad : array_like
        Directions relative to the boresight; any azimuth, elevations from -π/2 to π/2.
    max_gain_dbi : float
        Gain at boresight.
    horizontal_beamwidth_rad, vertical_beamwidth_rad : float
        Full widths at which the gain is 3 dB lower.
    front_to_back_db : float
        Largest attenuation, of each cut and of both together.

    Returns
    -------
    ndarray of float64
        Gain in dBi, of the broadcast shape.

    Notes
    -----
    G = G_max - min(A_H + A_V, A_max), A_H = min(12·(φ/φ_3dB)², A_max) and A_V likewise with the elevation.
    The defaults radiate 66 % of the power fed: the pattern's directivity is 9.8 dBi, so 8 dBi includes 1.8 dB of
    losses.
    """
    turns = _float(azimuth_rad) / (2.0 * np.pi)
    azimuth = 2.0 * np.pi * (turns - np.rint(turns))
    elevation = _float(elevation_rad)
    horizontal_db = np.minimum(12.0 * (azimuth / horizontal_beamwidth_rad) ** 2, front_to_back_db)
    vertical_db = np.minimum(12.0 * (elevation / vertical_beamwidth_rad) ** 2, front_to_back_db)
    return np.asarray(max_gain_dbi - np.minimum(horizontal_db + vertical_db, front_to_back_db))


def dft_array_gain(num_elements: int, offset: ArrayLike) -> FloatArray:
    """Power gain of a uniform linear array over one element, off the direction its codeword points at.

    Parameters
    ----------
    num_elements : int
        Elements N.
    offset : array_like
        Distance δ in spatial frequency, spacing in wavelengths times the direction cosine along the array.

    Returns
    -------
    ndarray of float64
        |Σ exp(j2πnδ)|²/N = sin²(πNδ) / (N·sin²(πδ)), at most N, of the same shape.
    """
    delta = _float(offset)
    delta = delta - np.rint(delta)  # its period is 1: grating lobes
    # sinc(x) = sin(πx)/(πx) has no pole at 0, and no zero within half a period
    return np.asarray(num_elements * (np.sinc(num_elements * delta) / np.sinc(delta)) ** 2)


@dataclass(frozen=True)
class PlanarArray:
    """A uniform planar array, columns along the horizon and rows one above the other, with a DFT codebook.

    Beam v·(O_h·N_h) + h, h = 0 … O_h·N_h - 1 and v = 0 … O_v·N_v - 1, is the outer product of the DFT vectors
    exp(j2πhn/(O_h·N_h))/√N_h along the columns and exp(j2πvn/(O_v·N_v))/√N_v along the rows
    (TS 38.214, section 5.2.2.2.1, for one polarisation).

    Notes
    -----
    The gain is that of the array alone, at most N_h·N_v, as if elements didn't couple: exact for
    isotropic elements in a line, half a wavelength apart. Left out: mutual coupling, quantised phase shifters, and
    beam squint over the band.
    """

    num_rows: int
    num_columns: int
    row_spacing: float = 0.5
    """Vertical distance between elements in wavelengths."""
    column_spacing: float = 0.5
    """Horizontal distance between elements in wavelengths."""
    oversampling: int = 1
    """Codewords for each element along either axis, O_h = O_v."""

    @property
    def num_beams(self) -> int:
        """Size of the codebook."""
        return self._num_vertical * self._num_horizontal

    def beam_towards(self, azimuth_rad: ArrayLike, elevation_rad: ArrayLike) -> IntArray:
        """Beam of largest gain in each direction, of the broadcast shape.

        The largest gain has the codeword nearest in spatial frequency along either axis.
        """
        vertical, horizontal = self._spatial_frequencies(azimuth_rad, elevation_rad)
        v = np.rint(vertical * self._num_vertical).astype(np.int64) % self._num_vertical
        h = np.rint(horizontal * self._num_horizontal).astype(np.int64) % self._num_horizontal
        return np.asarray(v * self._num_horizontal + h)

    def gain(self, beam: ArrayLike, azimuth_rad: ArrayLike, elevation_rad: ArrayLike) -> FloatArray:
        """Power gain of beams in directions over that of one element, linear, of the broadcast shape."""
        vertical, horizontal = self._spatial_frequencies(azimuth_rad, elevation_rad)
        v, h = np.divmod(np.asarray(beam, dtype=np.int64), self._num_horizontal)
        gain = dft_array_gain(self.num_rows, vertical - v / self._num_vertical)
        return np.asarray(gain * dft_array_gain(self.num_columns, horizontal - h / self._num_horizontal))

    @property
    def _num_vertical(self) -> int:
        return self.oversampling * self.num_rows

    @property
    def _num_horizontal(self) -> int:
        return self.oversampling * self.num_columns

    def _spatial_frequencies(self, azimuth_rad: ArrayLike, elevation_rad: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Cycles of phase from element to element, upwards and to the left."""
        azimuth, elevation = _float(azimuth_rad), _float(elevation_rad)
        return (
            np.asarray(self.row_spacing * np.sin(elevation)),
            np.asarray(self.column_spacing * np.cos(elevation) * np.sin(azimuth)),
        )


def _float(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
