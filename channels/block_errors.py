"""Block errors of coded QAM over AWGN, by the normal approximation at finite block length.

Codes are judged by what bit-interleaved coded modulation (BICM) with Gray labels allows at their block length,
and one implementation loss that all schemes share, instead of by a table of simulated curves for each.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from channels import nr
from channels.units import db_to_linear

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

IMPLEMENTATION_LOSS_DB = 0.5
"""SINR that LDPC codes of NR need beyond the normal approximation, the same for all schemes.

Fitted to the simulated NR LDPC curves that sionna-no-rt 2.2.0 ships (belief propagation, 20 iterations), MCS 3 to 27,
blocks of 500 to 2,000 bits. Their SINR grid of 1.8 dB is coarser than the waterfall, so there are two readings. Linear
in log10 of the block error, as sionna interpolates, 10 % thresholds are 0.0 to 0.95 dB above the approximation, 0.53 on
average. Points that lie inside the waterfall are 0.57 to 1.02 dB above it, 0.84 on average. 0.5 dB is within 0.52 dB of
both; by the second reading it flatters the code by 0.3 dB.
"""

_STEP_DB = 0.1
_GRID_DB = -40.0 + _STEP_DB * np.arange(901)
_NUM_NODES = 96
# Beyond it, block errors are 0 or 1 in double precision at any block length.
_LARGEST_MARGIN = 1e3


def bicm_moments(sinr: ArrayLike, bits_per_symbol: int) -> tuple[FloatArray, FloatArray]:
    """Capacity and dispersion of Gray-labelled square QAM over AWGN with bit metrics.

    The information density of a symbol is the sum over its bits b of 1 + log2(p(y|b) / (p(y|0) + p(y|1))), capacity C
    its mean (Caire, Taricco, Biglieri 1998) and dispersion V its variance, over equiprobable symbols and the noise.

    Parameters
    ----------
    sinr : array_like
        Ratio of symbol energy to noise power density, linear, > 0.
    bits_per_symbol : int
        Even: 2 is QPSK, 4, 6 and 8 are 16-, 64- and 256-QAM.

    Returns
    -------
    capacity : ndarray of float64
        In bits per symbol, of the shape of ``sinr``.
    dispersion : ndarray of float64
        In bits² per symbol, of the same shape.

    Notes
    -----
    In-phase and quadrature part are independent amplitude modulations; the noise is integrated by Gauss–Hermite
    quadrature, so that values carry no sampling noise.
    """
    gamma = np.asarray(sinr, dtype=np.float64)
    amplitudes, labels = _gray_amplitudes(bits_per_symbol // 2)
    nodes, weights = np.polynomial.hermite.hermgauss(_NUM_NODES)
    weights = weights / np.sqrt(np.pi)
    # Distances in standard deviations of the noise times √2, as the nodes are.
    scale = np.sqrt(gamma.ravel())[:, np.newaxis, np.newaxis]
    sent_levels = np.flatnonzero(amplitudes > 0.0)  # The others are mirror images.
    densities = []
    for sent in sent_levels:
        received = nodes[:, np.newaxis] + scale * (amplitudes[sent] - amplitudes)
        likelihood = np.exp(nodes[:, np.newaxis] ** 2 - received**2)  # [S, nodes, amplitudes], 1 for the one sent
        total = likelihood.sum(axis=-1)
        same_bit = [likelihood[..., bit == bit[sent]].sum(axis=-1) for bit in labels]
        densities.append(sum(1.0 - np.log2(total / same) for same in same_bit))
    density = np.stack(densities)
    mean = np.mean(density @ weights, axis=0)
    variance = np.mean((density - mean[:, np.newaxis]) ** 2 @ weights, axis=0)
    return 2.0 * mean.reshape(gamma.shape), 2.0 * variance.reshape(gamma.shape)


def block_error_rate(mcs: ArrayLike, sinr_db: ArrayLike, *, block_bits: ArrayLike, table: int = 1) -> FloatArray:
    """Probability that a code block is lost over AWGN: ε = Q((n·C - k)/√(n·V)) (Polyanskiy, Poor, Verdú 2010).

    Parameters
    ----------
    mcs : array_like of int
        Index of the modulation and coding scheme.
    sinr_db : array_like
        SINR of a resource element; the implementation loss is taken off it.
    block_bits : array_like
        Information bits k of the code block, > 0; it is sent in n = k/(Q_m·R) symbols.
    table : int, optional
        Table of TS 38.214: 1 (64-QAM) or 2 (256-QAM).

    Returns
    -------
    ndarray of float64
        Probability, of the broadcast shape, not increasing in SINR.

    Raises
    ------
    ValueError
        There is no such scheme or table, or a block has no bits.

    Notes
    -----
    C and V are those of ``bicm_moments``. Left out: the term of order log n, error floors of real codes. A transport
    block longer than a code block is several code blocks: ``transport_block_error_rate``.
    """
    index, num_symbols = _symbols(mcs, block_bits, table)
    position = (np.asarray(sinr_db, dtype=np.float64) - IMPLEMENTATION_LOSS_DB - _GRID_DB[0]) / _STEP_DB
    position = np.clip(position, 0.0, len(_GRID_DB) - 1.0)
    lower = np.minimum(position.astype(np.int64), len(_GRID_DB) - 2)
    margins, fraction = _margins(table), position - lower
    margin = margins[index, lower] * (1.0 - fraction) + margins[index, lower + 1] * fraction
    return _normal_tail(np.sqrt(num_symbols) * margin)


def transport_block_error_rate(
    mcs: ArrayLike, sinr_db: ArrayLike, *, block_bits: ArrayLike, table: int = 1
) -> FloatArray:
    """Probability that one of the code blocks of a transport block is lost; arguments as in ``block_error_rate``.

    The code blocks (``nr.num_code_blocks``) are of equal size and lost independently: 1 - (1 - ε)^C.
    """
    bits = np.asarray(block_bits, dtype=np.float64)
    count = nr.num_code_blocks(bits, nr.schemes(table).code_rate[nr.checked_mcs(mcs, table)])
    loss = block_error_rate(mcs, sinr_db, block_bits=bits / count, table=table)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(count * np.log1p(-loss)))


def sinr_threshold_db(mcs: ArrayLike, *, block_bits: ArrayLike, target: float = 0.1, table: int = 1) -> FloatArray:
    """SINR in dB at which the block error rate of a code block falls to a target; arguments as there."""
    from scipy.special import ndtri

    index, num_symbols = np.broadcast_arrays(*_symbols(mcs, block_bits, table))
    margins = _margins(table)
    wanted = -ndtri(target) / np.sqrt(num_symbols)
    threshold = [np.interp(margin, margins[row], _GRID_DB) for margin, row in zip(wanted.flat, index.flat, strict=True)]
    return np.reshape(threshold, index.shape) + IMPLEMENTATION_LOSS_DB


def _symbols(mcs: ArrayLike, block_bits: ArrayLike, table: int) -> tuple[IntArray, FloatArray]:
    """Return schemes as indices, and the number of symbols of their code blocks."""
    index, bits = nr.checked_mcs(mcs, table), np.asarray(block_bits, dtype=np.float64)
    if not np.all(bits > 0.0):
        raise ValueError(f"block_bits must be positive, is {bits}")
    return index, bits / nr.schemes(table).efficiency[index]


def _normal_tail(value: FloatArray) -> FloatArray:
    """Return the probability Q(x) that a standard normal variable exceeds x."""
    from scipy.special import ndtr  # Imported late: it takes longer than everything else here.

    return np.asarray(ndtr(-value))


@cache
def _margins(table: int) -> FloatArray:
    """Return (C - Q_m·R)/√V of every scheme over the SINR grid [M, S]; times √n it is the argument of Q.

    It rises with SINR where block errors are of any size; the running maximum makes it do so everywhere, so that
    block errors never increase, whatever the block length.
    """
    schemes = nr.schemes(table)
    margins = np.empty((len(schemes.efficiency), len(_GRID_DB)))
    for bits_per_symbol in np.unique(schemes.bits_per_symbol):
        capacity, dispersion = bicm_moments(db_to_linear(_GRID_DB), int(bits_per_symbol))
        rows = schemes.bits_per_symbol == bits_per_symbol
        with np.errstate(divide="ignore"):
            margins[rows] = (capacity - schemes.efficiency[rows, np.newaxis]) / np.sqrt(dispersion)
    margins = np.maximum.accumulate(np.clip(margins, -_LARGEST_MARGIN, _LARGEST_MARGIN), axis=1)
    margins.flags.writeable = False
    return margins


def _gray_amplitudes(num_bits: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the 2^b amplitudes of one dimension of QAM of unit energy, and their Gray labels [b, 2^b]."""
    position = np.arange(2**num_bits)
    amplitudes = 2.0 * position - (2**num_bits - 1)
    amplitudes /= np.sqrt(2.0 * np.mean(amplitudes**2))
    gray = position ^ (position >> 1)
    labels = (gray >> np.arange(num_bits)[:, np.newaxis]) & 1
    return amplitudes, labels.astype(np.bool_)
