"""The radio as media see it: gains -> SINR under what transmits -> rate and loss. It is a ``sharing.Band``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from channels.interference import interference_w
from channels.laws import LinkAdaptationLaw
from channels.units import db_to_linear, thermal_noise_w
from nmoe_sim.engine.air_state import AirState
from nmoe_sim.engine.crosstalk import Crosstalk
from nmoe_sim.engine.ether import Ether, tx_power_w
from nmoe_sim.engine.gains import CHUNK, LONGEST
from nmoe_sim.engine.links import Link, Node
from nmoe_sim.engine.radio.channel import refuse_nan
from nmoe_sim.engine.spectrum import Allocation
from nmoe_sim.scenario.scenario import RadioSection

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ANALOG_BPS_PER_HZ = 64.0
"""What an analog payload moves: one complex symbol/s/Hz, of two real values, each counted as its 32 bits as a float."""


def noise_w(radio: RadioSection, node: Node, bandwidth_hz: float) -> float:
    """Return the noise power of a node's receiver, in what link adaptation occupies of the bandwidth."""
    figure_db = radio.base_station_noise_figure_db if node.kind == "base_station" else radio.noise_figure_db
    return float(thermal_noise_w(radio.link_adaptation.occupied_hz(bandwidth_hz), figure_db))


class Air:
    """The links of media that are planned together, over the ether or wires.

    Parameters
    ----------
    links : sequence of Link
        The links, by position.
    allocations : sequence of Allocation
        Medium and band of each.
    ether : Ether
    end_to_end : bool
        Whether transfers take whole routes, so that all media are planned together.
    analog : bool
        Whether each link can also carry uncoded symbols: as link L + position, at ``ANALOG_BPS_PER_HZ`` on the
        occupied band whatever its SINR, unless that is 0. It is the same link in all else: it shares its medium, is
        on air and interferes alike.

    Notes
    -----
    A receiver hears, besides its sender, everybody who transmits on its band in another medium, at the mean power
    of what each sends over time. A radio that is active in several media of one band (concurrent sidelinks) divides
    its time equally among them: ``duty``. The scheme of link adaptation is chosen from the gain of
    ``report_delay_s`` ago, under the interference of now; within a block, the time before the report of that block
    counts with the older.
    """

    def __init__(
        self,
        links: Sequence[Link],
        allocations: Sequence[Allocation],
        ether: Ether,
        node: dict[str, int],
        *,
        end_to_end: bool = False,
        analog: bool = False,
    ) -> None:
        radio = ether.radio
        num_links = len(links)
        if analog:
            links, allocations = [*links, *links], [*allocations, *allocations]
        self._ether = ether
        self._adaptation: LinkAdaptationLaw = radio.link_adaptation
        names = list(dict.fromkeys(a.medium for a in allocations))
        bands = list(dict.fromkeys(a.band for a in allocations if a.band is not None))
        self.medium = np.array([names.index(a.medium) for a in allocations], dtype=np.int64)
        self.sender = np.array([node[link.src.name] for link in links], dtype=np.int64)
        self.receiver = np.array([node[link.dst.name] for link in links], dtype=np.int64)
        self._band = np.array([-1 if a.band is None else bands.index(a.band) for a in allocations], dtype=np.int64)
        self._bandwidth_hz = np.array([a.bandwidth_hz for a in allocations])
        self._fixed_bps = np.array([math.nan if li.wired is None else li.wired.capacity_bps for li in links])
        self._tx_w = np.array([tx_power_w(radio, link.src) for link in links])
        self._noise_w = np.array(
            [
                math.nan if a.band is None else noise_w(radio, link.dst, a.bandwidth_hz)
                for link, a in zip(links, allocations, strict=True)
            ]
        )
        for i in np.flatnonzero(self._band[num_links:] >= 0).tolist():
            occupied_hz = self._adaptation.occupied_hz(allocations[i].bandwidth_hz)
            self._fixed_bps[num_links + i] = ANALOG_BPS_PER_HZ * occupied_hz
            self._bandwidth_hz[num_links + i] = 0.0
        is_wired, self._has_wires = bool(np.all(self._band < 0)), bool(np.any(self._band < 0))
        self.block_s = math.inf if is_wired else ether.block_s
        self.outage_timeout_s = math.inf if is_wired else radio.outage_timeout_s
        self.is_coupled = end_to_end or len(names) > 1
        self.is_lossless = is_wired or self._adaptation.is_lossless
        self._crosstalk = Crosstalk(ether, self.sender, self.receiver)
        self._last: tuple[int, IntArray, FloatArray, AirState | None] = (-1, np.empty(0, np.int64), np.empty(0), None)
        self._block = -1
        self._now: dict[int, tuple[float, float]] = {}
        self._columns: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._used: set[int] = set()
        self._first_block, self._num_blocks, self._end_block = 0, 0, 0.0

    # --- alone on the air: the fast path ---------------------------------------------------------------

    def rate_bps(self, link: int, block: int) -> float:
        """See ``sharing.Band``."""
        return self._of_now(link, block)[0]

    def sinr(self, link: int, block: int) -> float:
        """Return the SINR of one link that has the air to itself."""
        return self._of_now(link, block)[1]

    def _of_now(self, link: int, block: int) -> tuple[float, float]:
        if block != self._block:
            self._block = block
            self._now.clear()
        found = self._now.get(link)
        if found is None:
            rates_bps, sinrs = self._column(link, block)
            found = self._now[link] = rates_bps.item(block - self._first_block), sinrs.item(block - self._first_block)
            if math.isnan(found[0]):
                self._refuse(np.array([link]), self._ether.time_of(block), np.array(found[:1]))
        return found

    def _column(self, link: int, block: int) -> tuple[FloatArray, FloatArray]:
        """Return the rates and SINRs of a link in the blocks of the window, which has ``block`` in it."""
        if not self._first_block <= block < self._end_block:
            self._open_window(block, sorted(self._used))
            self._used.clear()
        if link not in self._columns:
            # others too, as all of many links one by one would take long; in proportion to those in use
            others = (i for i in chain(range(link + 1, len(self.medium)), range(link)) if i not in self._columns)
            room = 8 * len(self._used) + 63 - len(self._columns)
            new = [link, *islice(others, max(0, room))]
            num_gains = (len(self._columns) + len(new)) * self._num_blocks
            if self._num_blocks > 1 and num_gains > 2 * CHUNK:
                self._open_window(block, [*self._columns, *new])
            else:
                self._columns.update(zip(new, self._alone(new), strict=True))
        self._used.add(link)
        return self._columns[link]

    def _open_window(self, block: int, links: list[int]) -> None:
        most = min(LONGEST, max(1, CHUNK // max(1, len(links))))
        if math.isinf(self.block_s):  # the first block is the only one
            self._first_block, self._num_blocks, self._end_block = 0, 1, math.inf
        else:
            self._first_block, self._num_blocks, self._end_block = block, most, block + most
        self._columns = dict(zip(links, self._alone(links), strict=True))

    def _alone(self, links: list[int]) -> list[tuple[FloatArray, FloatArray]]:
        """Return rates and SINRs of links in all blocks of the window."""
        if not links:
            return []
        index = np.array(links)
        if np.all(self._band[index] < 0):
            return [(self._fixed_bps[i : i + 1], np.full(1, math.inf)) for i in links]
        sinr = self.alone(index, np.arange(self._first_block, self._first_block + self._num_blocks))
        one = np.ones((len(links), 1))
        state = AirState(one, np.ones(1), [one], self._fixed_bps[index], self._bandwidth_hz[index], self._adaptation)
        rate_bps = state.transmission(sinr).rate_bps
        return list(zip(np.ascontiguousarray(rate_bps.T), np.ascontiguousarray(sinr.T), strict=True))

    def alone(self, links: IntArray, blocks: IntArray) -> FloatArray:
        """Return the SINR of radio links [n] in blocks [T] while nothing else transmits, [T, n]."""
        src, dst = self.sender[links], self.receiver[links]
        gain = self._ether.propagation.power_gain(src, dst, blocks)
        sinr = gain * (self._tx_w[links] / self._noise_w[links])[:, None]
        if self._ether.beams is not None:
            starts_s = np.array([self._ether.time_of(block) for block in blocks.tolist()])
            sinr *= self._ether.beams.link_gain(src, dst, starts_s[:, None])[..., None]
        return self._effective(sinr)

    def mean_alone(self, links: IntArray, t_s: float) -> FloatArray:
        """Return the SINR of radio links [n] at the mean of fast fading, while nothing else transmits."""
        src, dst = self.sender[links], self.receiver[links]
        gain_db = self._ether.propagation.large_scale(src, dst, np.array([t_s])).mean_gain_db[0]
        self._refuse(links, t_s, gain_db)
        sinr = db_to_linear(gain_db) * self._tx_w[links] / self._noise_w[links]
        if self._ether.beams is not None:
            sinr = sinr * self._ether.beams.link_gain(src, dst, t_s)
        return np.asarray(sinr)

    def mean_sinr(self, t_s: float) -> FloatArray:
        """Return the SINR of all links at the mean of fast fading, while nothing else transmits; infinite on wires."""
        sinr, radio = np.full(len(self.medium), math.inf), np.flatnonzero(self._band >= 0)
        if len(radio):
            sinr[radio] = self.mean_alone(radio, t_s)
        return sinr

    def mean_rates_bps(self, t_s: float) -> FloatArray:
        """Return what all links carry at the mean of fast fading, while nothing else transmits."""
        return self.rates_bps_at(self.mean_sinr(t_s))

    def rates_bps_at(self, sinr: FloatArray) -> FloatArray:
        """Return what all links carry at SINRs that stay."""
        flat = sinr[:, None]
        state = AirState(flat, np.ones(1), [flat], self._fixed_bps, self._bandwidth_hz, self._adaptation)
        return state.transmission(np.ones(len(sinr))).rate_bps

    def _refuse(self, links: IntArray, t_s: float, gains: FloatArray) -> None:
        refuse_nan(self._ether.propagation, self.sender[links], self.receiver[links], t_s, gains)

    def _effective(self, sinr: FloatArray) -> FloatArray:
        return sinr[..., 0] if sinr.shape[-1] == 1 else self._adaptation.effective_sinr(sinr)

    # --- together on the air ---------------------------------------------------------------------------

    def state(self, links: IntArray, activity: FloatArray, block: int) -> AirState:
        """See ``sharing.Band``."""
        same_block, same_links, same_activity, last = self._last
        if block != same_block or not np.array_equal(links, same_links) or not np.array_equal(activity, same_activity):
            last = self._state(links, activity, block)
            self._last = block, links.copy(), activity.copy(), last
        assert last is not None
        return last

    def _state(self, links: IntArray, activity: FloatArray, block: int) -> AirState:
        radio = np.flatnonzero(self._band[links] >= 0) if self._has_wires else slice(None)
        on_air = links[radio]
        reports = self._report_blocks(block) if len(on_air) else [(1.0, block)]
        subbands = dict.fromkeys((block, *(old for _, old in reports)), np.full((len(links), 1), math.inf))
        if len(on_air):
            noise_w = self._noise_w[on_air][:, None] + self._interference_w(on_air, activity[radio], block)
            for of_block in subbands:
                ratio = self._signal_w(on_air, of_block) / noise_w
                subbands[of_block] = np.full((len(links), ratio.shape[1]), math.inf)
                subbands[of_block][radio] = ratio
        weights = np.array([weight for weight, _ in reports])
        reported = [subbands[old] for _, old in reports]
        return AirState(
            subbands[block], weights, reported, self._fixed_bps[links], self._bandwidth_hz[links], self._adaptation
        )

    def _report_blocks(self, block: int) -> list[tuple[float, int]]:
        """Return which part of a block a scheme is chosen from which block's gains."""
        delay_s = self._adaptation.report_delay_s
        if not delay_s or math.isinf(self.block_s):
            return [(1.0, block)]
        whole, part = divmod(delay_s / self.block_s, 1.0)
        newer, older = max(0, block - int(whole)), max(0, block - int(whole) - 1)
        return [(w, b) for w, b in ((1.0 - part, newer), (part, older)) if w > 0]

    def _signal_w(self, links: IntArray, block: int) -> FloatArray:
        """Return received powers [n, K]."""
        src, dst = self.sender[links], self.receiver[links]
        power_w = self._tx_w[links][:, None] * self._ether.gains.at(src, dst, block)
        if self._ether.beams is not None:
            power_w *= self._ether.beams.link_gain(src, dst, self._ether.time_of(block))[:, None]
        return np.asarray(power_w)

    def _interference_w(self, links: IntArray, activity: FloatArray, block: int) -> FloatArray:
        """Return the power each link's receiver hears from others [n, K]."""
        if not self.is_coupled:
            return np.zeros((len(links), 1))
        src, dst, band, medium = self.sender[links], self.receiver[links], self._band[links], self.medium[links]
        heard = (
            (band[:, None] == band) & (medium[:, None] != medium) & (activity[:, None] > 0)
        )  # [sender j, receiver i]
        heard &= (src[:, None] != dst) & (src[:, None] != src)  # its own radio and its own sender have their duty
        if not heard.any():
            return np.zeros((len(links), 1))
        gains, own = self._crosstalk.gains(links, heard, block), np.arange(len(links))
        return interference_w(gains, self._tx_w[links], serving=own, activity=activity, interferes=heard)

    def duty(self, links: IntArray) -> FloatArray:
        """Return which part of the time the radios at both ends leave to each active link [n].

        A radio is in one medium at a time: it divides its time equally among those of a band it is active in.
        """
        if not self.is_coupled or len(links) < 2:
            return np.ones(len(links))
        band, medium = self._band[links].tolist(), self.medium[links].tolist()
        ends = list(zip(self.sender[links].tolist(), self.receiver[links].tolist(), strict=True))
        media_of: dict[tuple[int, int], set[int]] = {}
        for nodes, b, m in zip(ends, band, medium, strict=True):
            for node in nodes:
                media_of.setdefault((node, b), set()).add(m)
        most = [
            1 if b < 0 else max(len(media_of[node, b]) for node in nodes) for nodes, b in zip(ends, band, strict=True)
        ]
        return 1.0 / np.array(most, dtype=np.float64)
