"""Link adaptation: the spectral efficiency a link reaches at an SNR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels.units import db_to_linear


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
