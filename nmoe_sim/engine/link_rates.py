"""Rates of the links of one medium: gains -> SNR -> bit/s, many coherence blocks in one call."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from channels.channel import Channel
from channels.units import dbm_to_watt, thermal_noise_w
from nmoe_sim.engine.radio import LinkAdaptationLaw
from nmoe_sim.engine.topology import Link, Node
from nmoe_sim.scenario.scenario import RadioSection

_CHUNK = 65_536
"""Gains drawn in one call: links of the medium × blocks."""


def tx_power_w(radio: RadioSection, node: Node) -> float:
    """Return the power a node radiates."""
    power_dbm = radio.base_station_tx_power_dbm if node.kind == "base_station" else radio.tx_power_dbm
    return float(dbm_to_watt(power_dbm))


def _noise_w(radio: RadioSection, node: Node) -> float:
    figure_db = radio.base_station_noise_figure_db if node.kind == "base_station" else radio.noise_figure_db
    return float(thermal_noise_w(radio.bandwidth_hz, figure_db))


class LinkRates:
    """SNR and full-band rate of links, by position in ``links`` and coherence block.

    Media are shared in time, so there is no interference within a cell and SINR is SNR.

    Parameters
    ----------
    links : sequence of Link
        The links, in the order of the channel's.
    channel : Channel
        Gains of these links.
    radio : RadioSection
    """

    def __init__(self, links: Sequence[Link], channel: Channel, radio: RadioSection) -> None:
        self._channel = channel
        self._links = np.arange(len(links))
        self._bandwidth_hz = radio.bandwidth_hz
        self._adaptation: LinkAdaptationLaw = radio.link_adaptation
        self._snr_per_gain = np.array([tx_power_w(radio, li.src) / _noise_w(radio, li.dst) for li in links])
        coherence_time_s = radio.fading.coherence_time_s
        self.block_s: float = math.inf if coherence_time_s is None else coherence_time_s
        self._num_blocks = max(1, min(256, _CHUNK // max(1, len(links))))
        self._first_block = -1
        self._chunk: NDArray[np.float64] = np.empty((0, len(links)))

    def snr(self, blocks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the SNR of all links [len(blocks), L], linear."""
        return self._snr_per_gain * self._channel.power_gain(self._links, blocks)

    def mean_snr(self) -> NDArray[np.float64]:
        """Return the SNR of all links [L] at the mean of the small-scale fading, linear."""
        return self._snr_per_gain * 10.0 ** (self._channel.mean_gain_db / 10.0)

    def rates_bps(self, snr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return full-band rates at given SNRs, same shape."""
        return self._bandwidth_hz * np.asarray(self._adaptation.efficiency_bps_per_hz(snr))

    def rate_bps(self, link: int, block: int) -> float:
        """Return the full-band rate of one link in one block."""
        row = block - self._first_block
        if not (self._first_block >= 0 and 0 <= row < len(self._chunk)):
            row = 0 if math.isinf(self.block_s) else block % self._num_blocks
            self._first_block = block - row
            count = 1 if math.isinf(self.block_s) else self._num_blocks
            self._chunk = self.rates_bps(self.snr(np.arange(self._first_block, self._first_block + count)))
        return self._chunk.item(row, link)
