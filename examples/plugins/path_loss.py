"""A path-loss law of one's own: two rays, direct and reflected from flat ground."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from channels import path_loss
from channels.geometry import LinkGeometry
from channels.laws import BoolArray, FloatArray
from nmoe_sim.engine.radio.path_loss import FreeSpace


class TwoRay(FreeSpace):
    """Far from the transmitter 40·log10(d) - 20·log10(h_a·h_b), before that free space.

    Source: Rappaport, Wireless Communications, 2nd ed. 2002, section 4.6. The larger of the two losses is
    taken, which puts the change at d = 4π·h_a·h_b/λ. Everything else is as in free space.
    """

    kind: ClassVar[str] = "two_ray"

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        d_m = np.maximum(geometry.distance_3d_m, 1.0)
        far_db = 40 * np.log10(d_m) - 20 * np.log10(geometry.height_a_m * geometry.height_b_m)
        return np.asarray(np.maximum(path_loss.free_space(d_m, carrier_hz), far_db))


FAMILIES = {"path_loss": [TwoRay]}
