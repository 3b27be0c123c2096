"""Family ``fading``: thin specs over ``channels.fading`` and ``channels.rayleigh_field``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from channels import doppler, fading
from channels.laws import BoolArray, FloatArray, IntArray, UniformDraws
from channels.rayleigh_field import RayleighField
from channels.units import db_to_linear
from nmoe_sim.scenario.spec import Spec

Frequency = Annotated[float, Field(ge=0, le=1e6)]
Speed = Annotated[float, Field(ge=0, le=1e4)]


class NoFading(Spec):
    """No small-scale fading: the gain is constant over time."""

    kind: ClassVar[str] = "none"

    @property
    def coherence_time_s(self) -> None:
        """None: there are no coherence blocks."""
        return None

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
        """Return ones [T, M, 1]."""
        return np.ones((len(blocks), len(link_ids), 1))


class FadingSpec(Spec):
    """Base of the laws that fade: what they do over time and frequency.

    Over time there are two ways. With neither ``doppler_hz`` nor ``speed_m_per_s``, coherence blocks are independent of
    each other (block fading). With one of them, the gain changes as on the move, with the autocorrelation
    J0(2π f_d τ) of isotropic scattering, and ``coherence_time_s`` is the step it is sampled at: well below 1/f_d
    to follow it. The speed is a setting of the law; it does not follow the motion of devices.

    Over frequency, the channel is flat unless ``delay_spread_s`` and ``num_subbands`` are given.

    An implementation adds a ``kind`` and ``power_gain``, for most laws a function of ``rayleigh_gain``.
    """

    coherence_time_s: Annotated[float, Field(ge=1e-5, le=1e6)] = 0.05
    """Length of a coherence block, within which the gain is constant; the sampling step of a gain with Doppler shift.

    A rule of thumb for block fading is 0.423/f_d with the Doppler frequency f_d = v·f_c/c (Rappaport 2002,
    section 5.4.2). At 3 km/h, the terminal speed of the TR 38.901 calibrations, f_d is 9.7 Hz and the block 43 ms on a
    3.5 GHz carrier; the default is that rule at about 3 GHz.
    """
    doppler_hz: Frequency | None = None
    """Largest Doppler shift f_d; null: as ``speed_m_per_s`` says, and block fading if that is null too."""
    speed_m_per_s: Speed | None = None
    """Speed of a device among its scatterers, v in f_d = v·f_c/c; null: as ``doppler_hz`` says."""
    delay_spread_s: Annotated[float, Field(gt=0, le=1e-3)] | None = None
    """Root-mean-square delay spread of an exponential power-delay profile; null: flat fading."""
    num_subbands: Annotated[int, Field(ge=2, le=275)] | None = None
    """Sub-bands whose gains are told apart; null: one, as wide as the band."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.doppler_hz is not None and self.speed_m_per_s is not None:
            raise ValueError("doppler_hz and speed_m_per_s say the same thing; give one of them")
        if (self.delay_spread_s is None) != (self.num_subbands is None):
            missing = "delay_spread_s" if self.delay_spread_s is None else "num_subbands"
            raise ValueError(f"frequency-selective fading needs delay_spread_s and num_subbands; missing: {missing}")
        return self

    def field(self, carrier_hz: float, bandwidth_hz: float) -> RayleighField:
        """Diffuse multipath of all links on a carrier, in equal parts of its bandwidth."""
        shift_hz = self.doppler_hz
        if self.speed_m_per_s is not None:
            shift_hz = float(doppler.doppler_frequency_hz(self.speed_m_per_s, carrier_hz))
        num_subbands = self.num_subbands or 1
        return RayleighField(
            self.coherence_time_s, shift_hz, num_subbands, bandwidth_hz / num_subbands, self.delay_spread_s or 0.0
        )

    def rayleigh_gain(
        self, uniform: UniformDraws, link_ids: IntArray, blocks: IntArray, carrier_hz: float, bandwidth_hz: float
    ) -> FloatArray:
        """Power gain of the diffuse multipath [T, M, K], exponential with mean 1: a Rayleigh-fading channel."""
        return self.field(carrier_hz, bandwidth_hz).power(uniform, link_ids, blocks)


class Rayleigh(FadingSpec):
    """Rayleigh fading, of many paths and no dominant one: an exponential power gain."""

    kind: ClassVar[str] = "rayleigh"

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
        """See ``channels.laws.FadingLaw``."""
        return self.rayleigh_gain(uniform, link_ids, blocks, carrier_hz, bandwidth_hz)


class Rician(FadingSpec):
    """Rician fading: a direct path of constant power beside diffuse ones, on links that have line of sight.

    On the move the direct path has a Doppler shift of its own, by an angle drawn for each link. Its delay is
    0, so it is alike in all sub-bands, and ``delay_spread_s`` is that of the diffuse paths. K is the same for
    all links; its spread over links in TR 38.901 is left out.
    """

    kind: ClassVar[str] = "rician"

    k_db: Annotated[float, Field(ge=-40, le=60)] = 9.0
    """Power of the direct path over that of all others; 9 dB is the mean of UMi and UMa (TR 38.901, Table 7.5-6)."""
    nlos: Literal["rayleigh", "rician"] = "rayleigh"
    """Fading of links without line of sight."""

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
        """See ``channels.laws.FadingLaw``."""
        field = self.field(carrier_hz, bandwidth_hz)
        has_direct = np.ones_like(los) if self.nlos == "rician" else los
        k = np.where(has_direct, db_to_linear(self.k_db), 0.0)[..., None]
        return fading.rician_power_gain(
            field.gain(uniform, link_ids, blocks), field.direct(uniform, link_ids, blocks), k
        )


class Nakagami(FadingSpec):
    """Nakagami-m fading: a gamma-distributed power gain of variance 1/m, with or without line of sight.

    Over time and frequency it has the ranks of the Rayleigh fading it is made from.
    """

    kind: ClassVar[str] = "nakagami"

    m: Annotated[float, Field(ge=0.5, le=1000)] = 2.0
    """Shape: 1 is Rayleigh fading, 0.5 the most severe; larger fades less."""

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
        """See ``channels.laws.FadingLaw``."""
        return fading.nakagami_power_gain(
            self.rayleigh_gain(uniform, link_ids, blocks, carrier_hz, bandwidth_hz), self.m
        )
