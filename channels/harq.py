"""Hybrid automatic repeat request (HARQ): what retransmissions make of block errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


def chase_failures(block_error: Callable[[FloatArray], FloatArray], sinr: ArrayLike) -> FloatArray:
    """Probability that a block is not decoded after each of its transmissions, with Chase combining.

    Every transmission repeats the same coded bits; the receiver adds them up by maximum-ratio combining, so that it
    decodes at the sum of the SINRs (Chase 1985).

    Parameters
    ----------
    block_error : callable
        Block error rate by linear SINR, not increasing, of the same shape.
    sinr : array_like
        Linear SINR of each transmission [..., N].

    Returns
    -------
    ndarray of float64
        Probabilities [..., N], not increasing along the last axis. A block that would be decoded from fewer
        transmissions is counted as decoded from more.
    """
    return block_error(np.cumsum(np.asarray(sinr, dtype=np.float64), axis=-1))


@dataclass(frozen=True, eq=False)
class HarqStatistics:
    """What becomes of blocks that are transmitted at most N times; arrays of one shape."""

    mean_transmissions: FloatArray
    """Transmissions of a block, 1 to N."""
    residual_loss: FloatArray
    """Probability that a block is given up."""

    @property
    def delivered_per_transmission(self) -> FloatArray:
        """Blocks delivered a transmission, (1 - P_N)/E[T]; times the efficiency of one, it is the throughput.

        By the renewal-reward theorem (Caire, Tuninetti 2001).
        """
        return (1.0 - self.residual_loss) / self.mean_transmissions


def harq_statistics(failures: ArrayLike) -> HarqStatistics:
    """Statistics of a block, from the probabilities of not being decoded yet.

    Parameters
    ----------
    failures : array_like
        Probability P_k that a block is not decoded after transmission k = 1 … N [..., N], averaged over whatever
        varies from block to block, as fading.

    Returns
    -------
    HarqStatistics
        Of shape [...]: E[T] = 1 + P_1 + … + P_{N-1}, and P_N.

    Notes
    -----
    Acknowledgements always arrive. The delay of retransmissions is not in it.
    """
    failed = np.asarray(failures, dtype=np.float64)
    return HarqStatistics(1.0 + failed[..., :-1].sum(axis=-1), failed[..., -1])
