"""An antenna of one's own: the same all around, and a beam at the horizon."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from channels.laws import FloatArray, IntArray
from nmoe_sim.scenario.spec import Spec


class Omni(Spec):
    """An omnidirectional antenna whose gain falls as a power of the cosine of the elevation, D·cosⁿ(θ).

    n follows from the beamwidth, D from n: the pattern radiates all the power fed. The default 90° make n = 2,
    the short dipole of 1.76 dBi; 10° make 10.6 dBi. Left out: side lobes, losses.
    """

    kind: ClassVar[str] = "omni"

    vertical_beamwidth_deg: Annotated[float, Field(ge=1, lt=180)] = 90.0
    """Full width in elevation at which the gain is 3 dB lower."""

    def beam_towards(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
        """Return 0: there is one beam."""
        return np.zeros(np.broadcast_shapes(np.shape(azimuth_rad), np.shape(elevation_rad)), dtype=np.int64)

    def gain_db(self, beam: IntArray, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> FloatArray:
        """Gain in dBi, of the broadcast shape."""
        n = math.log(0.5) / math.log(math.cos(math.radians(self.vertical_beamwidth_deg) / 2))
        # D is 2 over the integral of cosⁿ⁺¹ from -π/2 to π/2
        log_peak = math.log(2) - math.log(math.pi) / 2 + math.lgamma((n + 3) / 2) - math.lgamma(n / 2 + 1)
        log_pattern = n * np.log(np.maximum(np.cos(elevation_rad), 1e-6))
        shape = np.broadcast_shapes(np.shape(beam), np.shape(azimuth_rad), np.shape(elevation_rad))
        return np.asarray(np.broadcast_to(10 / math.log(10) * (log_peak + log_pattern), shape))


FAMILIES = {"antenna": [Omni]}
