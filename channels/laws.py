"""What a channel is composed of: the laws ``channels.channel.Channel`` asks, and where its draws come from.

Arrays of shape [L] hold one element for each link of a ``LinkGeometry``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.geometry import LinkGeometry
from channels.link_adaptation import Transmission

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


class UniformDraws(Protocol):
    """Stateless uniform draws: a function of a name and counters, never of call order."""

    def __call__(self, name: str, *counters: ArrayLike) -> FloatArray:
        """Return draws on (0, 1], one for each element of the broadcast integer counters."""
        ...


class PathLossLaw(Protocol):
    """Mean loss over distance, and what it implies for line of sight and shadowing."""

    @property
    def validity_range(self) -> str:
        """What the law was made for, in words; it completes "outside …" in a warning."""
        ...

    @property
    def los_decorrelation_m(self) -> float:
        """Distance over which line of sight decorrelates; 0: independent from pair to pair."""
        ...

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Path loss in dB [L], given which links have line of sight [L]."""
        ...

    def los_probability(self, geometry: LinkGeometry) -> FloatArray:
        """Probability of line of sight [L]; 1 where the law makes no difference."""
        ...

    def shadow_fading_std_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: BoolArray) -> FloatArray:
        """Return the law's own standard deviation of shadow fading in dB [L]."""
        ...

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Distance over which shadow fading decorrelates, with or without line of sight."""
        ...

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> BoolArray:
        """Whether the law was made for these links [L]; the caller warns."""
        ...


class ShadowingLaw(Protocol):
    """Random deviation from the mean loss, a function of where the two ends are."""

    @property
    def decorrelation_m(self) -> float | None:
        """Distance over which shadowing decorrelates; None: the path-loss law's; 0: independent from pair to pair."""
        ...

    def shadowing_db(self, standard_normal: FloatArray, path_loss_std_db: FloatArray) -> FloatArray:
        """Shadowing in dB [L], added to the gain, from normal draws [L] and the path-loss law's σ [L]."""
        ...


class FadingLaw(Protocol):
    """Random power gain of unit mean, constant over a coherence block."""

    @property
    def coherence_time_s(self) -> float | None:
        """Length of a coherence block; None: the law does not fade and is not asked for gains."""
        ...

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
        """Power gain, linear, [T, M, K]: of links [M] in coherence blocks [T] and K equal sub-bands (1: flat).

        ``los`` [T, M] tells which links have line of sight. Every value is a function of link and block.
        """
        ...


class AntennaLaw(Protocol):
    """Gain of an antenna by direction. Azimuths are relative to its boresight, elevations above the horizon."""

    def beam_towards(self, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> IntArray:
        """Return the number of the beam of largest gain in each direction, of the same shape; 0: the only one."""
        ...

    def gain_db(self, beam: IntArray, azimuth_rad: FloatArray, elevation_rad: FloatArray) -> FloatArray:
        """Gain of beams in directions in dBi, of the broadcast shape."""
        ...


class LinkAdaptationLaw(Protocol):
    """From SINR to what a link carries."""

    @property
    def is_lossless(self) -> bool:
        """Whether every bit sent arrives: ``transmission`` has no loss and no retransmissions."""
        ...

    @property
    def report_delay_s(self) -> float:
        """Age of the SINR that the modulation and coding scheme is chosen from; 0: it is known as it is."""
        ...

    def check(self, bandwidth_hz: float, *, carrier_hz: float) -> None:
        """Raise ValueError, with what there is instead, if there is no such channel."""
        ...

    def occupied_hz(self, bandwidth_hz: float) -> float:
        """Part of a channel's bandwidth that has the power, and the noise that counts."""
        ...

    def effective_sinr(self, sinr: FloatArray) -> FloatArray:
        """SINR of a flat channel that carries as much as one of sub-bands [..., K]; linear, [...]."""
        ...

    def transmission(self, sinr: FloatArray, reported_sinr: FloatArray, *, bandwidth_hz: float) -> Transmission:
        """Return what links carry at their SINR over ``occupied_hz``, with a scheme chosen for the reported one.

        SINRs are linear and of one shape.
        """
        ...
