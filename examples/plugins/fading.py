"""A fading law of one's own: Nakagami-m."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from nmoe_sim.engine.radio import FloatArray
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec


class Nakagami(Spec):
    """Nakagami-m block fading: the power gain is gamma-distributed with shape m and mean 1.

    m = 1 is Rayleigh. Source: Nakagami, "The m-distribution", 1960.
    """

    kind: ClassVar[str] = "nakagami"

    m: Annotated[float, Field(ge=0.5, le=100)] = 2.0
    """Shape; larger fades less."""
    coherence_time_s: Positive = 0.05
    """Length of a coherence block."""

    def power_gain(self, uniform: FloatArray) -> FloatArray:
        """Power gain of mean 1, by inversion, of the shape of ``uniform``."""
        from scipy.special import gammaincinv

        return np.asarray(gammaincinv(self.m, uniform) / self.m)


FAMILIES = {"fading": [Nakagami]}
