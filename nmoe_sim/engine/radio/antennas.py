"""Family ``antenna``: thin specs over ``channels.antennas``."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from channels import antennas
from channels.laws import FloatArray, IntArray
from channels.units import linear_to_db
from nmoe_sim.scenario.spec import Spec

Gain = Annotated[float, Field(ge=-50, le=50)]
Beamwidth = Annotated[float, Field(gt=0, le=360)]
Downtilt = Annotated[float, Field(ge=-90, le=90)]
Elements = Annotated[int, Field(ge=1, le=256)]
Spacing = Annotated[float, Field(gt=0, le=100)]


class Isotropic(Spec):
    """The same gain in every direction; an omnidirectional antenna whose elevation pattern doesn't matter."""

    kind: ClassVar[str] = "isotropic"

    gain_dbi: Gain = 0.0
    """Gain."""

    def beam_towards(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
        """Return 0: there is one beam."""
        return _only_beam(azimuth_rad, elevation_rad)

    def gain_db(self, beam: IntArray, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> FloatArray:
        """Return the gain in dBi, of the broadcast shape."""
        return np.full(
            np.broadcast_shapes(np.shape(beam), np.shape(azimuth_rad), np.shape(elevation_rad)), self.gain_dbi
        )


class Sector(Spec):
    """A sector antenna with the pattern of TR 38.901, Table 7.3-1, and mechanical downtilt.

    The defaults are the table's element; a panel of several elements is narrower in elevation and stronger.
    """

    kind: ClassVar[str] = "sector"

    max_gain_dbi: Gain = 8.0
    """Gain at boresight."""
    horizontal_beamwidth_deg: Beamwidth = 65.0
    """Full width in azimuth at which the gain is 3 dB lower."""
    vertical_beamwidth_deg: Beamwidth = 65.0
    """Full width in elevation at which the gain is 3 dB lower."""
    front_to_back_db: Annotated[float, Field(ge=0, le=100)] = 30.0
    """Largest attenuation in any direction."""
    downtilt_deg: Downtilt = 0.0
    """Angle of the boresight below the horizon."""

    def beam_towards(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
        """Return 0: there is one beam."""
        return _only_beam(azimuth_rad, elevation_rad)

    def gain_db(self, beam: IntArray, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> FloatArray:
        """Gain in dBi, of the broadcast shape."""
        gain_db = antennas.sector_gain_db(
            *antennas.tilted(azimuth_rad, elevation_rad, math.radians(self.downtilt_deg)),
            max_gain_dbi=self.max_gain_dbi,
            horizontal_beamwidth_rad=math.radians(self.horizontal_beamwidth_deg),
            vertical_beamwidth_rad=math.radians(self.vertical_beamwidth_deg),
            front_to_back_db=self.front_to_back_db,
        )
        return np.broadcast_to(gain_db, np.broadcast_shapes(gain_db.shape, np.shape(beam)))


class PlanarArray(Spec):
    """A uniform planar array that points one beam of a DFT codebook at a time.

    A beam is chosen by direction, as a beam sweep without errors would; other links feel it where it points,
    side lobes and grating lobes included. The beam is ideal: no phase quantisation, no coupling, no beam squint.
    The gain is the element's plus that of the codeword, at most 10·log10(elements), as in 3GPP's
    evaluations. That flatters elements with a gain of their own: the 4 x 8 defaults reach 23 dBi at boresight,
    while the directivity of that beam is 20.6 dBi.
    """

    kind: ClassVar[str] = "upa"

    num_rows: Elements = 4
    """Elements one above the other."""
    num_columns: Elements = 8
    """Elements side by side."""
    row_spacing_wavelengths: Spacing = 0.5
    """Vertical distance between elements."""
    column_spacing_wavelengths: Spacing = 0.5
    """Horizontal distance between elements."""
    oversampling: Annotated[int, Field(ge=1, le=16)] = 4
    """Codewords for each element along either axis; 4 is the type I codebook of TS 38.214, Table 5.2.2.2.1-2.

    The gain between the two nearest beams is up to 3.9 dB below the peak with 1, 0.9 dB with 2, 0.2 dB with 4, for
    either axis.
    """
    element: Literal["tr38901", "isotropic"] = "tr38901"
    """Pattern of an element: TR 38.901, Table 7.3-1 (8 dBi), or the same in all directions, front and back (0 dBi)."""
    downtilt_deg: Downtilt = 0.0
    """Mechanical tilt of the panel below the horizon."""

    def beam_towards(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
        """Codeword of largest gain in each direction, of the broadcast shape."""
        return self._array.beam_towards(*self._seen(azimuth_rad, elevation_rad))

    def gain_db(self, beam: IntArray, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> FloatArray:
        """Gain of an element plus that of the codeword in dBi, of the broadcast shape; -inf in an exact null."""
        azimuth, elevation = self._seen(azimuth_rad, elevation_rad)
        array_db = linear_to_db(self._array.gain(beam, azimuth, elevation))
        return array_db + antennas.sector_gain_db(azimuth, elevation) if self.element == "tr38901" else array_db

    @property
    def _array(self) -> antennas.PlanarArray:
        return antennas.PlanarArray(
            self.num_rows,
            self.num_columns,
            self.row_spacing_wavelengths,
            self.column_spacing_wavelengths,
            self.oversampling,
        )

    def _seen(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
        return antennas.tilted(azimuth_rad, elevation_rad, math.radians(self.downtilt_deg))


def _only_beam(azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
    return np.zeros(np.broadcast_shapes(np.shape(azimuth_rad), np.shape(elevation_rad)), dtype=np.int64)
