"""Shadow fading: what obstacles do to the mean received power."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def log_normal_db(standard_normal: ArrayLike, std_db: ArrayLike) -> NDArray[np.float64]:
    """Log-normal shadowing X = σ·Z in dB, to be added to the gain.

    Parameters
    ----------
    standard_normal : array_like
        Independent standard normal draws Z.
    std_db : array_like
        Standard deviation σ in dB.

    Returns
    -------
    ndarray of float64
        Shadowing in dB, of the broadcast shape, zero-mean in dB (so the mean linear gain exceeds 1).

    Notes
    -----
    Independent from link to link: correlation over space (TR 38.901, Table 7.5-6) is left out.
    """
    return np.asarray(np.asarray(std_db, dtype=np.float64) * np.asarray(standard_normal, dtype=np.float64))
