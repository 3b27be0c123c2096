"""Family ``link_adaptation``: thin specs over ``channels.link_adaptation`` and ``channels.nr_link``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from channels import link_adaptation, nr, nr_link
from channels.link_adaptation import Transmission
from nmoe_sim.scenario.quantities import NonNegative, Positive
from nmoe_sim.scenario.spec import Spec

FloatArray = NDArray[np.float64]

_FR1_END_HZ, _FR2_START_HZ = 7.125e9, 24.25e9


class LinkAdaptation(Spec):
    """Base of laws without errors: the link knows its SINR and every bit arrives.

    To extend: derive, and define ``efficiency_bps_per_hz``.
    """

    is_lossless: ClassVar[bool] = True
    """Whether every bit sent arrives."""

    @property
    def report_delay_s(self) -> float:
        """0: the SINR is known as it is."""
        return 0.0

    @abstractmethod
    def efficiency_bps_per_hz(self, sinr: ArrayLike) -> FloatArray:
        """Spectral efficiency at a linear SINR, of the same shape."""

    def check(self, bandwidth_hz: float, *, carrier_hz: float) -> None:
        """Any bandwidth at any carrier will do."""

    def occupied_hz(self, bandwidth_hz: float) -> float:
        """All of it."""
        return bandwidth_hz

    def effective_sinr(self, sinr: FloatArray) -> FloatArray:
        """SINR with the mean capacity of sub-bands [..., K]: 2^mean(log2(1 + γ)) - 1; linear, [...]."""
        return link_adaptation.capacity_equivalent_sinr(sinr)

    def transmission(self, sinr: FloatArray, reported_sinr: FloatArray, *, bandwidth_hz: float) -> Transmission:
        """Efficiency times bandwidth, without loss; the report plays no part."""
        return Transmission.lossless(np.asarray(bandwidth_hz * self.efficiency_bps_per_hz(sinr)))


class Shannon(LinkAdaptation):
    """Shannon's formula with an SNR gap, capped at the best modulation and coding scheme."""

    kind: ClassVar[str] = "shannon"

    gap_db: Annotated[float, Field(ge=0, le=50)] = 3.0
    """SNR gap to capacity; an engineering assumption, 0 is capacity itself."""
    max_bps_per_hz: Positive | None = 7.4063
    """Cap: 256-QAM at code rate 948/1024, the top of the 256-QAM tables of TS 38.214; null: none."""

    def efficiency_bps_per_hz(self, sinr: ArrayLike) -> FloatArray:
        """Spectral efficiency at a linear SINR, of the same shape."""
        return link_adaptation.shannon_efficiency(sinr, gap_db=self.gap_db, max_bps_per_hz=self.max_bps_per_hz)

    def effective_sinr(self, sinr: FloatArray) -> FloatArray:
        """SINR whose efficiency is the mean over sub-bands [..., K], before the cap; linear, [...]."""
        return link_adaptation.capacity_equivalent_sinr(sinr, gap_db=self.gap_db)


class Nr(Spec):
    """5G New Radio, one layer: CQI and MCS of TS 38.214, block errors at finite block length, HARQ.

    A transport block is what one slot carries on the whole band. The CQI is chosen from a reported SINR
    of age ``report_delay_s``; the block is then sent over the channel as it is, up to ``max_transmissions`` times,
    with Chase combining at the SINR of the first. Airtime of retransmissions counts. A scheme that was chosen and
    turns out not to work sends blocks that are lost; only where the report allows no scheme is the rate 0.

    Left out: slots and resource blocks. Rates are those of a fluid on the whole band, so a hop may be on air for less
    than a slot or even a symbol: 25 µs on all resource blocks instead of half a millisecond on a few of them, which
    flatters the transmit energy of short payloads. A retransmission meets the channel of its block's first
    transmission, however late it comes.
    """

    kind: ClassVar[str] = "nr"
    is_lossless: ClassVar[bool] = False

    frequency_range: Literal["fr1", "fr2"] = "fr1"
    """Where the carrier is: fr1 is below 7.125 GHz, fr2 above 24.25 GHz."""
    numerology: Annotated[int, Field(ge=0, le=3)] = 1
    """Numerology μ: subcarriers of 15 kHz · 2^μ in slots of 1 ms / 2^μ; fr1 has 0 to 2, fr2 has 2 and 3."""
    cqi_table: Literal[1, 2] = 1
    """CQI table of TS 38.214 and the MCS table with it: 1 up to 64-QAM, 2 up to 256-QAM."""
    overhead: Annotated[float, Field(ge=0, le=0.9)] = 0.14
    """Share of resource elements without data; TS 38.306: 0.14 downlink, 0.08 uplink in FR1, 0.18 and 0.10 in FR2."""
    target_bler: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Largest block error rate of a first transmission that the CQI accepts; 0.1 is TS 38.214, section 5.2.2.1."""
    max_transmissions: Annotated[int, Field(ge=1, le=16)] = 4
    """Transmissions of a block before it is given up; 1: no HARQ. Four is a common setting, an assumption."""
    retransmission_delay_s: NonNegative = 0.004
    """HARQ round trip, from a transmission to its retransmission: 8 slots of 0.5 ms, an assumption."""
    report_delay_s: NonNegative = 0.005
    """Age of the SINR that the CQI is chosen from: 10 slots of 0.5 ms, an assumption; 0: perfect knowledge."""
    eesm_beta: Positive | None = None
    """β of the effective SINR over sub-bands; null: that of the MCS in use (Lagen et al. 2020)."""

    @model_validator(mode="after")
    def _range_has_the_numerology(self) -> Nr:
        if not nr.channel_bandwidths_hz(self.numerology, self.frequency_range):
            known = [mu for mu in range(4) if nr.channel_bandwidths_hz(mu, self.frequency_range)]
            raise ValueError(
                f"{self.frequency_range} has no numerology {self.numerology}; it has {', '.join(map(str, known))}"
            )
        return self

    def check(self, bandwidth_hz: float, *, carrier_hz: float) -> None:
        """Raise ValueError, naming what there is, if NR has no such channel or the carrier is in the other range.

        FR1 ends at 7.125 GHz, FR2 begins at 24.25 GHz (TS 38.104, section 5.1).
        """
        if self.frequency_range == "fr1" and carrier_hz > _FR1_END_HZ:
            raise ValueError(
                f"fr1 ends at 7.125 GHz and the carrier is at {carrier_hz / 1e9:g} GHz; "
                "from 24.25 GHz on, set frequency_range to 'fr2'"
            )
        if self.frequency_range == "fr2" and carrier_hz < _FR2_START_HZ:
            raise ValueError(
                f"fr2 begins at 24.25 GHz and the carrier is at {carrier_hz / 1e9:g} GHz; "
                "up to 7.125 GHz, set frequency_range to 'fr1'"
            )
        nr.resource_blocks(bandwidth_hz, numerology=self.numerology, frequency_range=self.frequency_range)

    def occupied_hz(self, bandwidth_hz: float) -> float:
        """Bandwidth of the resource blocks, without guard bands: N_RB · 12 subcarriers."""
        return nr_link.occupied_hz(bandwidth_hz, numerology=self.numerology, frequency_range=self.frequency_range)

    def effective_sinr(self, sinr: FloatArray) -> FloatArray:
        """SINR by exponential effective SINR mapping of sub-bands [..., K]; linear, [...]."""
        if self.eesm_beta is not None:
            return link_adaptation.effective_sinr(sinr, self.eesm_beta)
        return nr_link.eesm_sinr(sinr, table=self.cqi_table, target_bler=self.target_bler)

    def transmission(self, sinr: FloatArray, reported_sinr: FloatArray, *, bandwidth_hz: float) -> Transmission:
        """Rate, loss and HARQ at the linear SINR on the resource blocks, with the MCS of the reported one."""
        return self.link(bandwidth_hz).transmission(sinr, reported_sinr)

    def link(self, bandwidth_hz: float) -> nr_link.NrLink:
        """Return the tables of this law on a carrier; computed once a process."""
        return nr_link.nr_link(
            bandwidth_hz,
            numerology=self.numerology,
            frequency_range=self.frequency_range,
            cqi_table=self.cqi_table,
            overhead=self.overhead,
            target_bler=self.target_bler,
            max_transmissions=self.max_transmissions,
            retransmission_delay_s=self.retransmission_delay_s,
        )
