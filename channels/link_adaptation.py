"""Link adaptation: the spectral efficiency a link reaches at an SNR."""

from __future__ import annotations

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
