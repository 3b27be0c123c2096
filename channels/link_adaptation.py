"""Link adaptation: what a link carries at an SINR.

Shannon with a gap and a cap is here; schemes of 5G New Radio with block errors and HARQ are in ``channels.nr_link``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels import nr
from channels.block_errors import block_error_rate, sinr_threshold_db
from channels.units import db_to_linear

__all__ = [
    "Transmission",
    "block_error_rate",
    "capacity_equivalent_sinr",
    "effective_sinr",
    "shannon_efficiency",
    "sinr_threshold_db",
    "spectral_efficiency",
]

_CERTAIN_LOSS = 50.0
"""Largest -ln(1 - P_N) of a block: one that is always lost counts as lost but for one in e^50."""


def shannon_efficiency(
    snr: ArrayLike, *, gap_db: ArrayLike = 0.0, max_bps_per_hz: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Shannon's capacity with an SNR gap and a cap: min(log2(1 + γ/Γ), η_max).

    Parameters
    ----------
    snr : array_like
        Signal-to-noise ratio γ, linear, ≥ 0.
    gap_db : array_like, optional
        SNR gap Γ in dB of practical coding and modulation; 0 dB is capacity.
    max_bps_per_hz : array_like, optional
        Efficiency of the highest modulation and coding scheme; none by default.

    Returns
    -------
    ndarray of float64
        Spectral efficiency in bit/s/Hz, of the broadcast shape.

    Notes
    -----
    Left out: discrete schemes, block errors and retransmissions, overhead of pilots and control.
    """
    # log1p keeps all digits of small SNRs, where 1 + γ/Γ would lose them.
    efficiency = np.log1p(np.asarray(snr, dtype=np.float64) / db_to_linear(gap_db)) / np.log(2.0)
    if max_bps_per_hz is None:
        return np.asarray(efficiency)
    return np.asarray(np.minimum(efficiency, max_bps_per_hz))


def spectral_efficiency(mcs: ArrayLike, table: int = 1) -> NDArray[np.float64]:
    """Spectral efficiency of a modulation and coding scheme in bit/s/Hz, before overhead: Q_m·R.

    Parameters
    ----------
    mcs : array_like of int
        Index of the scheme, 0 to 28 in table 1 and 0 to 27 in table 2.
    table : int, optional
        Table of TS 38.214: 1 (64-QAM) or 2 (256-QAM).

    Raises
    ------
    ValueError
        There is no such scheme.
    """
    return np.asarray(nr.schemes(table).efficiency[nr.checked_mcs(mcs, table)])


def capacity_equivalent_sinr(sinr: ArrayLike, *, gap_db: ArrayLike = 0.0) -> NDArray[np.float64]:
    """SINR of a flat channel with the mean capacity of sub-bands: Γ·(2^mean(log2(1 + γ_k/Γ)) - 1).

    Parameters
    ----------
    sinr : array_like
        Linear SINR of the sub-bands [..., K], ≥ 0.
    gap_db : array_like, optional
        SNR gap Γ in dB, as in ``shannon_efficiency``.

    Returns
    -------
    ndarray of float64
        Linear SINR [...], between the smallest and the mean of the sub-bands.
    """
    gap = db_to_linear(gap_db)
    scaled = np.asarray(sinr, dtype=np.float64) / np.asarray(gap)[..., np.newaxis]
    return np.asarray(gap * np.expm1(np.mean(np.log1p(scaled), axis=-1)))


def effective_sinr(sinr: ArrayLike, beta: ArrayLike) -> NDArray[np.float64]:
    """Exponential effective SINR mapping (EESM): -β·ln(mean_k exp(-γ_k/β)).

    Parameters
    ----------
    sinr : array_like
        Linear SINR of the sub-bands [..., K], ≥ 0.
    beta : array_like
        β [...], calibrated for a scheme: ``nr.schemes(table).eesm_beta``.

    Returns
    -------
    ndarray of float64
        Linear SINR [...] at which that scheme has the same block errors on a flat channel; between the smallest
        (β → 0) and the mean (β → ∞) of the sub-bands.

    Notes
    -----
    β of NR's schemes were calibrated by link simulation: Lagen et al., "New Radio physical layer abstraction for
    system-level simulations of 5G networks", IEEE ICC 2020 (arXiv:2001.10309).
    """
    values, scale = np.asarray(sinr, dtype=np.float64), np.asarray(beta, dtype=np.float64)
    # Relative to the worst sub-band no exponential overflows, and at least one is 1.
    worst = values.min(axis=-1)
    with np.errstate(invalid="ignore"):
        excess = np.where(values == worst[..., np.newaxis], 0.0, values - worst[..., np.newaxis])
    with np.errstate(under="ignore"):
        mean = np.mean(np.exp(-excess / scale[..., np.newaxis]), axis=-1)
    return np.asarray(worst - scale * np.log(mean))


@dataclass(frozen=True, eq=False)
class Transmission:
    """What links carry while they transmit on the whole band; arrays of one shape.

    Bits leave the sender's queue at ``rate_bps`` whether they get through or are given up; which of the two is up to
    ``loss_per_bit`` alone. All is per second or per bit sent, so that parts of the time add up: ``mean``.
    """

    rate_bps: NDArray[np.float64]
    """Bits that leave the queue a second of airtime, retransmissions counted as airtime; 0: no scheme is usable."""
    loss_per_bit: NDArray[np.float64]
    """Hazard of losing data: -ln(1 - P_N) / block_bits, with P_N the probability that HARQ gives a block up."""
    retransmissions_per_bit: NDArray[np.float64]
    """(E[T] - 1) / block_bits, with E[T] the mean number of transmissions of a block."""
    block_bits: NDArray[np.float64]
    """Bits of a transport block; infinite where nothing is ever lost, or nothing sent."""
    retransmission_delay_s: float = 0.0
    """Time from a transmission to its retransmission."""

    @classmethod
    def lossless(cls, rate_bps: NDArray[np.float64]) -> Transmission:
        """Return links on which every bit sent arrives at once."""
        none = np.zeros(rate_bps.shape)
        return cls(rate_bps, none, none, np.full(rate_bps.shape, np.inf))

    @classmethod
    def of_blocks(
        cls,
        block_hz: NDArray[np.float64],
        block_bits: NDArray[np.float64],
        block_loss: NDArray[np.float64],
        mean_transmissions: NDArray[np.float64],
        retransmission_delay_s: float = 0.0,
    ) -> Transmission:
        """Return links with block errors.

        Parameters
        ----------
        block_hz : ndarray of float64
            Transmissions of blocks a second of airtime, first ones or not; 0 where no scheme is usable.
        block_bits : ndarray of float64
        block_loss : ndarray of float64
            Probability P_N that a block is lost for good, after all its retransmissions.
        mean_transmissions : ndarray of float64
            Transmissions E[T] of a block, first one included, at least 1.
        retransmission_delay_s : float, optional
        """
        sends = block_hz > 0
        bits = np.where(sends, block_bits, np.inf)
        with np.errstate(divide="ignore"):
            exponent = np.minimum(-np.log1p(-block_loss), _CERTAIN_LOSS)
        return cls(
            rate_bps=np.where(sends, block_bits / mean_transmissions, 0.0) * block_hz,
            loss_per_bit=exponent / bits,
            retransmissions_per_bit=(mean_transmissions - 1.0) / bits,
            block_bits=bits,
            retransmission_delay_s=retransmission_delay_s,
        )

    @property
    def mean_transmissions(self) -> NDArray[np.float64]:
        """Transmissions E[T] of a transport block, first one included, at least 1."""
        return 1.0 + self.retransmissions_per_bit * self._bits_of_blocks

    @property
    def block_loss(self) -> NDArray[np.float64]:
        """Probability P_N that a transport block is lost for good, after all its retransmissions."""
        return -np.expm1(-self.loss_per_bit * self._bits_of_blocks)

    @property
    def _bits_of_blocks(self) -> NDArray[np.float64]:
        return np.where(np.isinf(self.block_bits), 0.0, self.block_bits)

    def mean(self, weights: ArrayLike) -> Transmission:
        """Return the mean over the first axis, of which each element has a part ``weights`` of the time.

        Rates and events a second (lost, repeated or sent blocks) are averaged, and then put in terms of bits again.
        """
        parts = np.reshape(weights, (-1, *(1,) * (self.rate_bps.ndim - 1))) * self.rate_bps
        rate_bps = parts.sum(axis=0)

        def per_bit(each: NDArray[np.float64]) -> NDArray[np.float64]:
            events_hz = (parts * each).sum(axis=0)
            return np.asarray(np.divide(events_hz, rate_bps, out=np.zeros(rate_bps.shape), where=rate_bps > 0))

        blocks = per_bit(1.0 / self.block_bits)
        return Transmission(
            rate_bps,
            per_bit(self.loss_per_bit),
            per_bit(self.retransmissions_per_bit),
            np.divide(1.0, blocks, out=np.full(rate_bps.shape, np.inf), where=blocks > 0),
            self.retransmission_delay_s,
        )
