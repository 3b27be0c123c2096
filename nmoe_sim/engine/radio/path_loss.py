"""Family ``path_loss``: thin specs over ``channels.path_loss``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channels import path_loss
from channels.geometry import LinkGeometry
from channels.units import SPEED_OF_LIGHT_M_PER_S
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ShadowStd = Annotated[float, Field(ge=0, le=50)]


class FreeSpace(Spec):
    """Friis' free-space loss over the 3D distance; always line of sight, no shadowing of its own."""

    kind: ClassVar[str] = "free_space"

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        return path_loss.free_space(geometry.distance_3d_m, carrier_hz)

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Return ones [L]."""
        return np.ones(len(geometry))

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return zeros [L]."""
        return np.zeros(len(geometry))

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the ends are at least one wavelength apart [L], the far field of small antennas."""
        return np.asarray(geometry.distance_3d_m >= SPEED_OF_LIGHT_M_PER_S / carrier_hz)


class LogDistance(Spec):
    """Log-distance loss over the 3D distance: free space up to a reference, then a power law."""

    kind: ClassVar[str] = "log_distance"

    exponent: Annotated[float, Field(gt=0, le=10)] = 3.0
    """Path-loss exponent; 2 is free space, 2.7 to 3.5 is usual in cities (Rappaport 2002, Table 4.2)."""
    reference_distance_m: Positive = 1.0
    """Distance up to which the loss is that of free space."""
    shadow_std_db: ShadowStd = 0.0
    """Standard deviation of log-normal shadowing, where the shadowing law has none of its own."""

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        return path_loss.log_distance(
            geometry.distance_3d_m,
            carrier_hz,
            exponent=self.exponent,
            reference_distance_m=self.reference_distance_m,
        )

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Return ones [L]."""
        return np.ones(len(geometry))

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return ``shadow_std_db`` for each link [L]."""
        return np.full(len(geometry), self.shadow_std_db)

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the ends are at least the reference distance apart [L]."""
        return np.asarray(geometry.distance_3d_m >= self.reference_distance_m)


class UrbanMicro(Spec):
    """UMi street canyon of 3GPP TR 38.901 V16.1, outdoors.

    The higher end of a link takes the base station's part. Device-to-device links, whose ends are both
    below 10 m, are an extrapolation that ``in_validity_range`` reports. Building penetration is left out.
    """

    kind: ClassVar[str] = "tr38901_umi"

    los: Literal["probabilistic", "always", "never"] = "probabilistic"
    """Line of sight: drawn for each pair of ends with the probability of Table 7.4.2-1, or forced."""

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]."""
        return path_loss.tr38901(
            "umi",
            distance_2d_m=geometry.distance_2d_m,
            carrier_hz=carrier_hz,
            height_bs_m=geometry.height_a_m,
            height_ut_m=geometry.height_b_m,
            los=los,
        )

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Probability of line of sight [L], as ``los`` says."""
        if self.los != "probabilistic":
            return np.full(len(geometry), 1.0 if self.los == "always" else 0.0)
        return path_loss.los_probability("umi", distance_2d_m=geometry.distance_2d_m, height_ut_m=geometry.height_b_m)

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return 4 dB in line of sight, 7.82 dB without [L]."""
        return path_loss.shadow_fading_std_db(
            "umi",
            distance_2d_m=geometry.distance_2d_m,
            carrier_hz=carrier_hz,
            height_bs_m=geometry.height_a_m,
            height_ut_m=geometry.height_b_m,
            los=los,
        )

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether Table 7.4.1-1 covers the link [L]."""
        return path_loss.in_validity_range(
            "umi",
            distance_2d_m=geometry.distance_2d_m,
            carrier_hz=carrier_hz,
            height_bs_m=geometry.height_a_m,
            height_ut_m=geometry.height_b_m,
        )
