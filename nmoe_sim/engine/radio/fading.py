"""Family ``fading``: thin specs over ``channels.fading``."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channels import fading
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]


class NoFading(Spec):
    """No small-scale fading: the gain is constant over time."""

    kind: ClassVar[str] = "none"

    @property
    def coherence_time_s(self) -> None:
        """None: there are no coherence blocks."""
        return None

    def power_gain(self, uniform: FloatArray) -> FloatArray:
        """Return ones."""
        return np.ones(np.shape(uniform))


CoherenceTime = Annotated[float, Field(ge=1e-5, le=1e6)]


class Rayleigh(Spec):
    """Rayleigh block fading: an independent exponential power gain in each coherence block.

    A rule of thumb for the block is T_c ≈ 0.423/f_d with the Doppler frequency f_d = v·f_c/c
    (Rappaport 2002, section 5.4.2). At 3 km/h, the terminal speed of the TR 38.901 calibrations, f_d is
    9.7 Hz and T_c 43 ms on a 3.5 GHz carrier; the default of 50 ms is that rule at about 3 GHz.
    """

    kind: ClassVar[str] = "rayleigh"

    coherence_time_s: CoherenceTime = 0.05
    """Length of a coherence block."""

    def power_gain(self, uniform: FloatArray) -> FloatArray:
        """Power gain of mean 1, of the shape of ``uniform``."""
        return fading.rayleigh_power_gain(uniform)
