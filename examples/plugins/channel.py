"""A channel of one's own: free space, and somebody who stands in the way now and then."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from channels.channel import LargeScale, Propagation
from channels.laws import FloatArray, IntArray, UniformDraws
from channels.path_loss import free_space
from channels.sites import Sites
from channels.units import db_to_linear
from nmoe_sim.engine.radio.channel import ChannelSpec
from nmoe_sim.scenario.quantities import Probability
from nmoe_sim.scenario.scenario import RadioSection


class Passers:
    """Gains of free space, less a loss in those blocks in which a pair is blocked."""

    def __init__(self, sites: Sites, carrier_hz: float, uniform: UniformDraws, spec: PassersBy) -> None:
        self.block_s = spec.passage_s
        self._sites, self._carrier_hz, self._uniform, self._spec = sites, carrier_hz, uniform, spec

    def large_scale(self, src: IntArray, dst: IntArray, t_s: FloatArray) -> LargeScale:
        """Distances, nobody in the way, free space; each [T, M]."""
        xy_m = self._sites.positions_m(t_s)
        distance_m = np.hypot(*np.moveaxis(xy_m[:, src] - xy_m[:, dst], -1, 0))
        above_m = self._sites.heights_m[src] - self._sites.heights_m[dst]
        loss_db = free_space(np.hypot(distance_m, above_m), self._carrier_hz)
        return LargeScale(distance_m, np.ones(distance_m.shape, np.bool_), -loss_db)

    def power_gain(self, src: IntArray, dst: IntArray, blocks: IntArray) -> FloatArray:
        """Gains [T, M, 1]: a draw for each pair, whatever its direction, and block."""
        gain_db = self.large_scale(src, dst, blocks * self.block_s).mean_gain_db
        ends = np.sort(self._sites.ids[np.stack([src, dst])], axis=0)
        is_blocked = self._uniform("passers_by", *ends, blocks[:, None]) < self._spec.probability
        return db_to_linear(gain_db - self._spec.loss_db * is_blocked)[..., None]


class PassersBy(ChannelSpec):
    """Free space between isotropic antennas; a passer-by costs some decibels for as long as they pass."""

    kind: ClassVar[str] = "passers_by"

    probability: Probability = 0.1
    """Share of the time in which a pair is blocked."""
    loss_db: Annotated[float, Field(ge=0, le=100)] = 20.0
    """Loss while it is; the default is what one body costs at millimetre waves, an assumption."""
    passage_s: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.5
    """Time a passage takes."""

    def build(self, sites: Sites, radio: RadioSection, uniform: UniformDraws) -> Propagation:
        """See the base class."""
        return Passers(sites, radio.carrier_hz, uniform, self)


FAMILIES = {"channel": [PassersBy]}
