"""A fading law of one's own: Weibull."""

from __future__ import annotations

from math import gamma
from typing import Annotated, ClassVar

from pydantic import Field

from channels.laws import BoolArray, FloatArray, IntArray, UniformDraws
from nmoe_sim.engine.radio.fading import FadingSpec


class Weibull(FadingSpec):
    """Weibull fading: the amplitude is a power of a Rayleigh amplitude.

    A shape of 2 is Rayleigh. It inherits Doppler and sub-bands, and takes their correlation on in rank.
    Source: Sagias et al., "Channel capacity and second-order statistics in Weibull fading", 2004.
    """

    kind: ClassVar[str] = "weibull"

    shape: Annotated[float, Field(ge=0.5, le=100)] = 3.0
    """Shape of the amplitude; larger fades less."""

    def power_gain(
        self,
        uniform: UniformDraws,
        link_ids: IntArray,
        blocks: IntArray,
        *,
        los: BoolArray,
        carrier_hz: float,
        bandwidth_hz: float,
    ) -> FloatArray:
        """Power gain of mean 1 [T, M, K]: of links [M] in blocks [T] and K sub-bands."""
        power = 2.0 / self.shape
        return self.rayleigh_gain(uniform, link_ids, blocks, carrier_hz, bandwidth_hz) ** power / gamma(1.0 + power)


FAMILIES = {"fading": [Weibull]}
