"""5G New Radio: numerology, resource blocks, modulation and coding schemes, transport blocks, peak rate.

Schemes come in two tables: 1 goes up to 64-QAM, 2 up to 256-QAM; the CQI table of the same number belongs to it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
FrequencyRange = Literal["fr1", "fr2"]

SUBCARRIERS_PER_RESOURCE_BLOCK = 12
SYMBOLS_PER_SLOT = 14
"""With the normal cyclic prefix (TS 38.211, Table 4.3.2-1)."""


def subcarrier_spacing_hz(numerology: int) -> float:
    """Return the subcarrier spacing of numerology μ: 15 kHz · 2^μ (TS 38.211, Table 4.2-1)."""
    return 15e3 * 2.0**numerology


def slot_s(numerology: int) -> float:
    """Return the duration of a slot of numerology μ: 1 ms / 2^μ (TS 38.211, Table 4.3.2-1)."""
    return 1e-3 / 2.0**numerology


def channel_bandwidths_hz(numerology: int, frequency_range: FrequencyRange) -> tuple[float, ...]:
    """Return the channel bandwidths of a numerology in a frequency range, rising; none: the range doesn't have it."""
    return tuple(sorted(_resource_blocks(numerology, frequency_range)))


def resource_blocks(bandwidth_hz: float, *, numerology: int, frequency_range: FrequencyRange) -> int:
    """Return the resource blocks of a channel (TS 38.101-1 and -2, Table 5.3.2-1).

    Parameters
    ----------
    bandwidth_hz : float
        Channel bandwidth, guard bands included.
    numerology : int
        Numerology μ.
    frequency_range : {"fr1", "fr2"}
        FR1 is below 7.125 GHz, FR2 above 24.25 GHz.

    Raises
    ------
    ValueError
        There is no such channel; the message lists the bandwidths there are.
    """
    blocks = _resource_blocks(numerology, frequency_range)
    if bandwidth_hz not in blocks:
        known = ", ".join(f"{bandwidth / 1e6:g}" for bandwidth in sorted(blocks)) or "none"
        raise ValueError(
            f"{bandwidth_hz / 1e6:g} MHz is no channel bandwidth of NR with subcarriers of "
            f"{subcarrier_spacing_hz(numerology) / 1e3:g} kHz in {frequency_range.upper()}; in MHz, there are {known}"
        )
    return blocks[bandwidth_hz]


@dataclass(frozen=True, eq=False)
class Schemes:
    """A table of modulation and coding schemes [M], by index, reserved ones left out."""

    bits_per_symbol: IntArray
    """Modulation order Q_m: 2 is QPSK, 4, 6 and 8 are 16-, 64- and 256-QAM."""
    code_rate: FloatArray
    """Target code rate R."""
    eesm_beta: FloatArray
    """β of the exponential effective SINR mapping (Lagen et al. 2020)."""

    @property
    def efficiency(self) -> FloatArray:
        """Bits a resource element carries, Q_m·R."""
        return self.bits_per_symbol * self.code_rate


@cache
def schemes(table: int = 1) -> Schemes:
    """Return a table of TS 38.214: 1 is Table 5.1.3.1-1 (64-QAM), 2 is Table 5.1.3.1-2 (256-QAM)."""
    rows = _of_table("ts38214_mcs.csv", table)
    return Schemes(
        _frozen(np.array([int(row["bits_per_symbol"]) for row in rows], dtype=np.int64)),
        _frozen(np.array([float(row["code_rate_x1024"]) / 1024.0 for row in rows])),
        _frozen(np.array([float(row["eesm_beta"]) for row in rows])),
    )


def checked_mcs(mcs: ArrayLike, table: int = 1) -> IntArray:
    """Return indices of schemes as an array; ValueError where there is no such scheme."""
    index, last = np.asarray(mcs), len(schemes(table).bits_per_symbol) - 1
    if not np.issubdtype(index.dtype, np.integer) or np.any((index < 0) | (index > last)):
        raise ValueError(f"MCS of table {table} must be an integer from 0 to {last}, is {index}")
    return index


@cache
def cqi_efficiency(table: int = 1) -> FloatArray:
    """Return the bits a resource element carries at CQI 0 to 15; 0 at CQI 0, out of range.

    TS 38.214: 1 is Table 5.2.2.1-2 (64-QAM), 2 is Table 5.2.2.1-3 (256-QAM).
    """
    rows = _of_table("ts38214_cqi.csv", table)
    return _frozen(
        np.array([0.0] + [int(row["bits_per_symbol"]) * float(row["code_rate_x1024"]) / 1024.0 for row in rows])
    )


def cqi_to_mcs(cqi: ArrayLike, table: int = 1) -> IntArray:
    """Return the scheme that a channel quality indicator recommends; -1 at CQI 0, out of range.

    That is the highest index whose efficiency does not exceed the indicator's. From CQI 2 on it is the
    indicator's own modulation and code rate; CQI 1 is below every scheme and gets the lowest.
    The standard leaves the choice to the scheduler.
    """
    index = np.asarray(cqi, dtype=np.int64)
    if np.any((index < 0) | (index > 15)):
        raise ValueError(f"CQI must be 0 to 15, is {index}")
    ladder = np.maximum.accumulate(schemes(table).efficiency)
    mcs = np.searchsorted(ladder, cqi_efficiency(table), side="right") - 1
    mcs[1:] = np.maximum(mcs[1:], 0)
    return np.asarray(mcs[index], dtype=np.int64)


def transport_block_bits(num_resource_blocks: ArrayLike, efficiency: ArrayLike, *, overhead: ArrayLike) -> IntArray:
    """Return the bits one slot carries on one layer: ⌊12·14·N_RB·(1 - OH)·η⌋.

    Parameters
    ----------
    num_resource_blocks : array_like
        Resource blocks N_RB.
    efficiency : array_like
        Bits of a resource element, η = Q_m·R.
    overhead : array_like
        Fraction OH of resource elements without data: control, pilots; see ``peak_rate_bps``.

    Notes
    -----
    Left out: the standard's rounding to sizes that suit the code (TS 38.214, section 5.1.3.2), a few per cent.
    """
    elements = SUBCARRIERS_PER_RESOURCE_BLOCK * SYMBOLS_PER_SLOT * np.asarray(num_resource_blocks, dtype=np.float64)
    bits = elements * (1.0 - np.asarray(overhead, dtype=np.float64)) * np.asarray(efficiency, dtype=np.float64)
    return np.asarray(np.floor(bits), dtype=np.int64)


def num_code_blocks(block_bits: ArrayLike, code_rate: ArrayLike) -> IntArray:
    """Return the number of code blocks that a transport block is cut into (TS 38.212, sections 5.2.2, 6.2.1 and 7.2.2).

    LDPC base graph 2 serves small blocks and low rates and takes 3,840 bits, base graph 1 takes 8,448, checksums of
    16 or 24 bits for the transport block and 24 for each of several code blocks included.
    """
    bits, rate = np.asarray(block_bits, dtype=np.int64), np.asarray(code_rate, dtype=np.float64)
    is_graph_2 = (bits <= 292) | ((bits <= 3824) & (rate <= 0.67)) | (rate <= 0.25)
    largest = np.where(is_graph_2, 3840, 8448)
    with_checksum = bits + np.where(bits > 3824, 24, 16)
    return np.asarray(np.where(with_checksum <= largest, 1, -(-with_checksum // (largest - 24))), dtype=np.int64)


def peak_rate_bps(
    num_resource_blocks: ArrayLike,
    *,
    numerology: ArrayLike,
    bits_per_symbol: ArrayLike = 6,
    code_rate: ArrayLike = 948 / 1024,
    num_layers: ArrayLike = 1,
    scaling: ArrayLike = 1.0,
    overhead: ArrayLike = 0.14,
) -> FloatArray:
    """Return the peak rate of one carrier: v·Q_m·f·R·N_RB·12/T_s·(1 - OH) (TS 38.306, section 4.1.2).

    Parameters
    ----------
    num_resource_blocks : array_like
        Resource blocks N_RB.
    numerology : array_like
        Numerology μ; T_s = 1 ms/(14·2^μ) is the mean duration of a symbol.
    bits_per_symbol, code_rate : array_like, optional
        Modulation order Q_m and code rate R.
    num_layers : array_like, optional
        Spatial layers v.
    scaling : array_like, optional
        Scaling factor f.
    overhead : array_like, optional
        OH: 0.14 downlink and 0.08 uplink in FR1, 0.18 and 0.10 in FR2.
    """
    symbol_s = 1e-3 / (SYMBOLS_PER_SLOT * np.exp2(np.asarray(numerology, dtype=np.float64)))
    efficiency = np.asarray(bits_per_symbol) * np.asarray(code_rate) * np.asarray(num_layers) * np.asarray(scaling)
    subcarriers = SUBCARRIERS_PER_RESOURCE_BLOCK * np.asarray(num_resource_blocks)
    return np.asarray(efficiency * subcarriers / symbol_s * (1.0 - np.asarray(overhead)), dtype=np.float64)


@cache
def _resource_blocks(numerology: int, frequency_range: FrequencyRange) -> dict[float, int]:
    subcarrier_khz = round(subcarrier_spacing_hz(numerology) / 1e3)
    return {
        float(row["bandwidth_mhz"]) * 1e6: int(row["resource_blocks"])
        for row in _rows("nr_resource_blocks.csv")
        if row["frequency_range"] == frequency_range and int(row["subcarrier_khz"]) == subcarrier_khz
    }


def _of_table(name: str, table: int) -> list[dict[str, str]]:
    if table not in (1, 2):
        raise ValueError(f"unknown table {table} of TS 38.214; known: 1 (64-QAM), 2 (256-QAM)")
    return [row for row in _rows(name) if int(row["table"]) == table]


def _rows(name: str) -> list[dict[str, str]]:
    text = files("channels").joinpath("tables", name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Protect an array that is cached for everybody."""
    array.flags.writeable = False
    return array
