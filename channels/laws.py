"""What a channel is composed of: the laws ``channels.channel.Channel`` asks, and where its draws come from.

Arrays of shape [L] hold one element for each link of a ``LinkGeometry``.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.geometry import LinkGeometry


class UniformDraws(Protocol):
    """Stateless uniform draws: a function of a name and counters, never of call order."""

    def __call__(self, name: str, *counters: ArrayLike) -> NDArray[np.float64]:
        """Return draws on (0, 1], one for each element of the broadcast integer counters."""
        ...


class PathLossLaw(Protocol):
    """Mean loss over distance, and what it implies for line of sight and shadowing."""

    def path_loss_db(self, geometry: LinkGeometry, *, carrier_hz: float, los: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Path loss in dB [L], given which links have line of sight [L]."""
        ...

    def los_probability(self, geometry: LinkGeometry) -> NDArray[np.float64]:
        """Probability of line of sight [L]; 1 where the law makes no difference."""
        ...

    def shadow_fading_std_db(
        self, geometry: LinkGeometry, *, carrier_hz: float, los: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the law's own standard deviation of shadow fading in dB [L]."""
        ...

    def in_validity_range(self, geometry: LinkGeometry, *, carrier_hz: float) -> NDArray[np.bool_]:
        """Whether the law was made for these links [L]; the caller warns."""
        ...


class ShadowingLaw(Protocol):
    """Random deviation from the mean loss, constant over time."""

    def shadowing_db(
        self, standard_normal: NDArray[np.float64], path_loss_std_db: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Shadowing in dB [L], added to the gain, from normal draws [L] and the path-loss law's σ [L]."""
        ...


class FadingLaw(Protocol):
    """Random power gain of unit mean, constant over a coherence block."""

    @property
    def coherence_time_s(self) -> float | None:
        """Length of a coherence block; None: the law does not fade and is not asked for gains."""
        ...

    def power_gain(self, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power gain, linear, from independent uniform draws, of the same shape."""
        ...


class LinkAdaptationLaw(Protocol):
    """From SNR to spectral efficiency."""

    def efficiency_bps_per_hz(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Spectral efficiency at a linear SNR, of the same shape."""
        ...
