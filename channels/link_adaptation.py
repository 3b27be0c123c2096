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
    """What links carry while they transmit on the whole band; arrays of one shape."""

    rate_bps: NDArray[np.float64]
    """Goodput: bits handed over a second of airtime, retransmissions counted as airtime; 0: nothing gets through."""
    block_loss: NDArray[np.float64]
    """Probability that a transport block is lost for good, after all its retransmissions."""
    block_bits: NDArray[np.float64]
    """Bits of a transport block; infinite where nothing is ever lost."""
    mean_transmissions: NDArray[np.float64]
    """Transmissions of a transport block, first one included, at least 1."""
    retransmission_delay_s: float = 0.0
    """Time from a transmission to its retransmission."""

    @property
    def loss_per_bit(self) -> NDArray[np.float64]:
        """Hazard of losing data: -ln(1 - block_loss) / block_bits."""
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log1p(-self.block_loss) / self.block_bits)
