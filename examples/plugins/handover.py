"""A handover rule of one's own: two thresholds instead of a comparison."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from nmoe_sim.engine.handover import FloatArray, HandoverSpec, IntArray

Power = Annotated[float, Field(ge=-200, le=100)]


class TwoThresholds(HandoverSpec):
    """A device leaves a base station that has become weak for the strongest one, if that is strong enough.

    Event A5 of TS 38.331, section 5.5.4.6. While its own base station will do, a device stays, so there are fewer
    handovers than with A3, and more devices that aren't at their best one. Left out: hysteresis, time to trigger,
    filter.
    """

    kind: ClassVar[str] = "a5"

    own_below_dbm: Power = -75.0
    """Mean power over the whole band below which a device wants to leave."""
    other_above_dbm: Power = -70.0
    """Mean power from which another base station is worth it; the gap keeps devices from going back and forth."""

    def rule(self, num_devices: int, num_stations: int) -> TwoThresholds:
        """Return the spec itself, which has nothing to remember."""
        return self

    def update(self, t_s: float, rsrp_dbm: FloatArray, serving: IntArray) -> list[tuple[int, int]]:
        """Return who hands over, to which base station, given powers [D, B] and who serves whom [D]."""
        device, best = np.arange(len(serving)), np.argmax(rsrp_dbm, axis=1)
        is_weak = (serving >= 0) & (rsrp_dbm[device, serving] < self.own_below_dbm)
        leaves = is_weak & (best != serving) & (rsrp_dbm[device, best] >= self.other_above_dbm)
        return [(int(d), int(best[d])) for d in np.flatnonzero(leaves)]


FAMILIES = {"handover": [TwoThresholds]}
