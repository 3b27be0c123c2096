"""Family ``path_loss``: thin specs over ``channels.path_loss`` and ``channels.environments``.

They follow ``channels.laws.PathLossLaw``; its terms are described there.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from channels import environments, path_loss
from channels.environments import ENVIRONMENTS, Environment, Links
from channels.geometry import LinkGeometry
from channels.units import SPEED_OF_LIGHT_M_PER_S
from nmoe_sim.scenario.quantities import NonNegative, Positive
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ShadowStd = Annotated[float, Field(ge=0, le=50)]
DEFAULT_DECORRELATION_M = 50.0
"""Of shadowing in the macro cells of 3GPP TR 36.814, Table A.2.1.1-2; near TR 38.901's UMa (37 and 50 m)."""


class _Stateless(Spec):
    """What laws have in common that know no state of line of sight."""

    has_los: ClassVar[bool] = True
    """Whether links count as having line of sight, for laws of fading that ask."""

    @property
    def los_decorrelation_m(self) -> float:
        """Return 0: there is nothing to draw."""
        return 0.0

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Return ones, or zeros for a law of links without line of sight [L]."""
        return np.full(len(geometry), 1.0 if self.has_los else 0.0)


class FreeSpace(_Stateless):
    """Friis' free-space loss over the 3D distance; always line of sight, no shadowing of its own."""

    kind: ClassVar[str] = "free_space"

    @property
    def validity_range(self) -> str:
        """Return the far field of small antennas."""
        return "distances of at least one wavelength"

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        return path_loss.free_space(geometry.distance_3d_m, carrier_hz)

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return zeros [L]."""
        return np.zeros(len(geometry))

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Return 50 m, for a shadowing law that brings a standard deviation and no distance."""
        return DEFAULT_DECORRELATION_M

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the ends are at least one wavelength apart [L], the far field of small antennas."""
        return np.asarray(geometry.distance_3d_m >= SPEED_OF_LIGHT_M_PER_S / carrier_hz)


class LogDistance(_Stateless):
    """Log-distance loss over the 3D distance: free space up to a reference, then a power law."""

    kind: ClassVar[str] = "log_distance"

    exponent: Annotated[float, Field(gt=0, le=10)] = 3.0
    """Path-loss exponent; 2 is free space, 2.7 to 3.5 is usual in cities (Rappaport 2002, Table 4.2)."""
    reference_distance_m: Positive = 1.0
    """Distance up to which the loss is that of free space."""
    shadow_std_db: ShadowStd = 0.0
    """Standard deviation of log-normal shadowing, where the shadowing law has none of its own."""
    decorrelation_m: NonNegative = DEFAULT_DECORRELATION_M
    """Distance over which shadowing decorrelates by e (TR 36.814, macro cells); 0: independent from pair to pair."""

    @property
    def validity_range(self) -> str:
        """Return the distances from the reference on."""
        return f"distances of at least {self.reference_distance_m:g} m"

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        return path_loss.log_distance(
            geometry.distance_3d_m,
            carrier_hz,
            exponent=self.exponent,
            reference_distance_m=self.reference_distance_m,
        )

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return ``shadow_std_db`` for each link [L]."""
        return np.full(len(geometry), self.shadow_std_db)

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Return ``decorrelation_m``."""
        return self.decorrelation_m

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the ends are at least the reference distance apart [L]."""
        return np.asarray(geometry.distance_3d_m >= self.reference_distance_m)


class MacroCell(_Stateless):
    """3GPP's urban macro cell without line of sight: 128.1 + 37.6·log10(d/km) at 2 GHz (TR 36.942, TR 25.814).

    Over the 3D distance. Every link counts as having no line of sight.
    """

    kind: ClassVar[str] = "tr36942_macro"
    has_los: ClassVar[bool] = False

    antenna_above_rooftop_m: Annotated[float, Field(gt=0, le=50)] = 15.0
    """Height of the base station's antenna above the mean rooftop."""
    shadow_std_db: ShadowStd = 8.0
    """Standard deviation of log-normal shadowing (TR 25.814, Table A.2.1.1-3; TR 36.942 has 10 dB)."""
    decorrelation_m: NonNegative = DEFAULT_DECORRELATION_M
    """Distance over which shadowing decorrelates by e (TR 25.814); 0: independent from pair to pair."""

    @property
    def validity_range(self) -> str:
        """Return the least distance of TR 25.814 and the carriers that TR 36.942 works out."""
        return "distances of at least 35 m, 0.9 to 2 GHz"

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L]; ``los`` makes no difference."""
        return path_loss.tr36942_macro(
            geometry.distance_3d_m, carrier_hz, antenna_above_rooftop_m=self.antenna_above_rooftop_m
        )

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return ``shadow_std_db`` for each link [L]."""
        return np.full(len(geometry), self.shadow_std_db)

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Return ``decorrelation_m``."""
        return self.decorrelation_m

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the ends are at least 35 m apart, at 0.9 to 2 GHz [L]."""
        return np.asarray((geometry.distance_3d_m >= 35.0) & (0.9e9 <= carrier_hz <= 2e9))


class _Tr38901(Spec):
    """An environment of 3GPP TR 38.901 V16.1.

    The higher end of a link takes the base station's part. Links between devices are an extrapolation where
    the environment fixes the base station's height; ``in_validity_range`` reports them.
    """

    los: Literal["probabilistic", "always", "never"] = "probabilistic"
    """Line of sight: with the probability of Table 7.4.2-1, alike for ends near each other, or forced."""

    @property
    @abstractmethod
    def environment(self) -> Environment:
        """The environment with its settings."""

    @property
    def validity_range(self) -> str:
        """What Table 7.4.1-1 covers, in words."""
        return self.environment.validity_range

    @property
    def los_decorrelation_m(self) -> float:
        """Correlation distance of the line-of-sight state (Table 7.6.3.1-2)."""
        return self.environment.los_decorrelation_m

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L] (Table 7.4.1-1)."""
        return self.environment.path_loss_db(_links(geometry), carrier_hz=np.asarray(carrier_hz), los=los)

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Probability of line of sight [L] (Table 7.4.2-1), as ``los`` says."""
        if self.los != "probabilistic":
            return np.full(len(geometry), 1.0 if self.los == "always" else 0.0)
        return self.environment.los_probability(_links(geometry))

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return the standard deviation of shadow fading in dB [L] (Table 7.4.1-1)."""
        return self.environment.shadow_fading_std_db(_links(geometry), carrier_hz=np.asarray(carrier_hz), los=los)

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Correlation distance of shadow fading (Table 7.5-6)."""
        return self.environment.shadow_decorrelation_m(los)

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether Table 7.4.1-1 covers the link [L], in both states unless line of sight is forced."""
        los = np.full(len(geometry), self.los == "always")
        return self.environment.in_validity_range(_links(geometry), carrier_hz=np.asarray(carrier_hz), los=los)


class UrbanMicro(_Tr38901):
    """UMi street canyon of 3GPP TR 38.901, outdoors: base station at 10 m, below the roofs."""

    kind: ClassVar[str] = "tr38901_umi"

    @property
    def environment(self) -> Environment:
        """The street canyon."""
        return ENVIRONMENTS["umi"]


class UrbanMacro(_Tr38901):
    """UMa of 3GPP TR 38.901, outdoors: base station at 25 m, above the roofs. Effective environment height: 1 m."""

    kind: ClassVar[str] = "tr38901_uma"

    @property
    def environment(self) -> Environment:
        """The macro cell."""
        return ENVIRONMENTS["uma"]


class RuralMacro(_Tr38901):
    """RMa of 3GPP TR 38.901, outdoors: base station at 35 m, say."""

    kind: ClassVar[str] = "tr38901_rma"

    street_width_m: Annotated[float, Field(ge=1, le=500)] = 20.0
    """Mean street width; Table 7.4.1-1 covers 5 to 50 m."""
    building_height_m: Annotated[float, Field(ge=1, le=500)] = 5.0
    """Mean building height; Table 7.4.1-1 covers 5 to 50 m."""

    @property
    def environment(self) -> Environment:
        """The countryside with its streets and buildings."""
        return environments.RuralMacro(self.street_width_m, self.building_height_m)


class IndoorOffice(_Tr38901):
    """InH office of 3GPP TR 38.901: base station under the ceiling at 3 m, say."""

    kind: ClassVar[str] = "tr38901_inh"

    office: Literal["mixed", "open"] = "mixed"
    """Rooms, cubicles and corridors, or one open floor: it shapes the probability of line of sight."""

    @property
    def environment(self) -> Environment:
        """The office."""
        return environments.IndoorOffice(self.office)


class IndoorFactory(_Tr38901):
    """InF of 3GPP TR 38.901: a factory hall with clutter; defaults of the TR's calibration (Table 7.8-7)."""

    kind: ClassVar[str] = "tr38901_inf"

    hall: Literal["sl", "dl", "sh", "dh"] = "sh"
    """Sparse or dense clutter, base station low, in the clutter, or high, above it."""
    clutter_density: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the floor that clutter takes; null: 0.2 where sparse, 0.6 where dense."""
    clutter_size_m: Positive | None = None
    """Typical size of a piece; null: 10 m where sparse, 2 m where dense. Line of sight decorrelates over half of it."""
    clutter_height_m: NonNegative | None = None
    """Effective height of the clutter; null: 2 m where sparse, 6 m where dense."""

    @property
    def environment(self) -> Environment:
        """The hall with its clutter."""
        given = {name: getattr(self, name) for name in ("clutter_density", "clutter_size_m", "clutter_height_m")}
        return replace(ENVIRONMENTS[f"inf_{self.hall}"], **{k: v for k, v in given.items() if v is not None})


def _links(geometry: LinkGeometry) -> Links:
    return Links(geometry.distance_2d_m, geometry.height_a_m, geometry.height_b_m)
