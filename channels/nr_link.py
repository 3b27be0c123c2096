"""Links of 5G New Radio: from SINR to rate and loss, by CQI, MCS, block errors and HARQ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels import nr
from channels.block_errors import sinr_threshold_db, transport_block_error_rate
from channels.harq import chase_failures, harq_statistics
from channels.link_adaptation import Transmission, capacity_equivalent_sinr, effective_sinr
from channels.units import db_to_linear, linear_to_db

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LOWEST_DB, _STEP_DB, _NUM_STEPS = -30.0, 0.02, 4000


@dataclass(frozen=True, eq=False)
class NrLink:
    """What links of one NR carrier carry, tabulated over SINR; made by ``nr_link``."""

    thresholds_db: FloatArray
    """SINR on the resource blocks from which each scheme is used [M], not falling."""
    mcs: IntArray
    """Index of each scheme in its table [M]."""
    block_bits: FloatArray
    """Transport block of each scheme [M]: what a slot carries on the whole band."""
    slot_s: float
    retransmission_delay_s: float
    curves: FloatArray
    """Of each scheme at each SINR [2, M, S]: residual loss, mean transmissions."""

    def transmission(self, sinr: ArrayLike, reported_sinr: ArrayLike) -> Transmission:
        """Return what links carry at their SINR, with schemes chosen for the reported one.

        Parameters
        ----------
        sinr : array_like
            Linear SINR on the resource blocks, ≥ 0; the same in every transmission of a block.
        reported_sinr : array_like
            Linear SINR that the scheme is chosen for, of the same shape.

        Notes
        -----
        Rate 0 where no scheme is chosen. Where one is chosen that never gets through, blocks are sent and lost.
        """
        scheme = np.searchsorted(self.thresholds_db, linear_to_db(reported_sinr), side="right") - 1
        position = np.clip((linear_to_db(sinr) - _LOWEST_DB) / _STEP_DB, 0.0, _NUM_STEPS)
        lower = np.minimum(position.astype(np.int64), _NUM_STEPS - 1)
        fraction = position - lower
        loss, transmissions = (
            self.curves[:, scheme, lower] * (1.0 - fraction) + self.curves[:, scheme, lower + 1] * fraction
        )
        return Transmission.of_blocks(
            block_hz=np.where(scheme >= 0, 1.0 / self.slot_s, 0.0),
            block_bits=self.block_bits[scheme],
            block_loss=loss,
            mean_transmissions=transmissions,
            retransmission_delay_s=self.retransmission_delay_s,
        )


@lru_cache(maxsize=64)
def nr_link(
    bandwidth_hz: float,
    *,
    numerology: int = 1,
    frequency_range: nr.FrequencyRange = "fr1",
    cqi_table: int = 1,
    overhead: float = 0.14,
    target_bler: float = 0.1,
    max_transmissions: int = 4,
    retransmission_delay_s: float = 0.004,
) -> NrLink:
    """Tabulate the links of an NR carrier: one layer, the whole band in every slot.

    Parameters
    ----------
    bandwidth_hz : float
        Channel bandwidth. All power, noise and interference that count are on its resource blocks: ``occupied_hz``.
    numerology, frequency_range
        As in ``nr.resource_blocks``.
    cqi_table : int, optional
        Table of CQIs, and of schemes with it: 1 (64-QAM) or 2 (256-QAM).
    overhead : float, optional
        Fraction of resource elements without data.
    target_bler : float, optional
        Largest block error rate of the first transmission that a report accepts.
    max_transmissions : int, optional
        Transmissions of a block with Chase combining before it is given up.
    retransmission_delay_s : float, optional
        Time from a transmission to its retransmission; handed through.

    Raises
    ------
    ValueError
        NR has no such channel.

    Notes
    -----
    A report is the CQI of the best scheme whose block error rate is within the target (TS 38.214, section 5.2.2.1), and
    its scheme is used. A scheme whose goodput at its target is still below that of a lower one is not yet used, so
    that goodput rises with SINR. Left out: several layers, outer-loop corrections, incremental redundancy, errors of
    the feedback.
    """
    num_blocks = nr.resource_blocks(bandwidth_hz, numerology=numerology, frequency_range=frequency_range)
    mcs = reportable_mcs(cqi_table)
    block_bits = nr.transport_block_bits(num_blocks, nr.schemes(cqi_table).efficiency[mcs], overhead=overhead)

    grid_db = _LOWEST_DB + _STEP_DB * np.arange(_NUM_STEPS + 1)
    sinr = db_to_linear(grid_db)

    def block_error(sinr: FloatArray) -> FloatArray:  # [M, S, N]
        by_scheme = (slice(None), np.newaxis, np.newaxis)
        return transport_block_error_rate(
            mcs[by_scheme], linear_to_db(sinr), block_bits=block_bits[by_scheme], table=cqi_table
        )

    failures = chase_failures(block_error, np.repeat(sinr[:, np.newaxis], max_transmissions, axis=1))
    harq = harq_statistics(failures)
    goodput = block_bits[:, np.newaxis] * harq.delivered_per_transmission
    best_of_lower = np.vstack([np.zeros_like(grid_db), np.maximum.accumulate(goodput, axis=0)[:-1]])
    is_used = (failures[..., 0] <= target_bler) & (goodput >= best_of_lower)
    thresholds_db = np.where(is_used.any(axis=1), grid_db[is_used.argmax(axis=1)], np.inf)
    # A scheme that a higher one overtakes before it comes into use is never used.
    thresholds_db = np.minimum.accumulate(thresholds_db[::-1])[::-1]
    return NrLink(
        thresholds_db=thresholds_db,
        mcs=mcs,
        block_bits=block_bits.astype(np.float64),
        slot_s=nr.slot_s(numerology),
        retransmission_delay_s=retransmission_delay_s,
        curves=np.stack([harq.residual_loss, harq.mean_transmissions]),
    )


def occupied_hz(bandwidth_hz: float, *, numerology: int = 1, frequency_range: nr.FrequencyRange = "fr1") -> float:
    """Return the bandwidth of the resource blocks of a channel, without its guard bands.

    Raises
    ------
    ValueError
        NR has no such channel.
    """
    num_blocks = nr.resource_blocks(bandwidth_hz, numerology=numerology, frequency_range=frequency_range)
    return num_blocks * nr.SUBCARRIERS_PER_RESOURCE_BLOCK * nr.subcarrier_spacing_hz(numerology)


def reportable_mcs(table: int = 1) -> IntArray:
    """Return the schemes that the 15 CQIs of a table recommend, rising."""
    return np.unique(nr.cqi_to_mcs(np.arange(1, 16), table))


def eesm_sinr(sinr: ArrayLike, *, table: int = 1, target_bler: float = 0.1) -> FloatArray:
    """Effective SINR of sub-bands for the scheme they would get; ``link_adaptation.effective_sinr`` with its β.

    Parameters
    ----------
    sinr : array_like
        Linear SINR of the sub-bands [..., K].
    table : int, optional
        Table of CQIs and schemes.
    target_bler : float, optional
        Block error rate at which a scheme is taken.

    Returns
    -------
    ndarray of float64
        Linear SINR [...]; no larger than the mean of the sub-bands and rising with each of them.

    Notes
    -----
    β depends on the scheme and the scheme on the effective SINR; the scheme is found from the capacity-equivalent
    SINR instead, with thresholds of full code blocks of 8,448 bits.
    """
    values = np.asarray(sinr, dtype=np.float64)
    if values.shape[-1] == 1:
        return values[..., 0]
    mcs, thresholds_db = _scheme_ladder(table, target_bler)
    scheme = np.searchsorted(thresholds_db, linear_to_db(capacity_equivalent_sinr(values)), side="right") - 1
    return effective_sinr(values, nr.schemes(table).eesm_beta[mcs[np.maximum(scheme, 0)]])


@lru_cache(maxsize=64)
def _scheme_ladder(table: int, target_bler: float) -> tuple[IntArray, FloatArray]:
    mcs = reportable_mcs(table)
    return mcs, sinr_threshold_db(mcs, block_bits=8448, target=target_bler, table=table)
