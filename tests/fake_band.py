"""A radio for tests of sharing: SINRs from a table, any law from SINR to rate, interference from a matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from simpy import Environment

from channels.link_adaptation import Transmission
from nmoe_sim.engine.sharing import Ended, Media


def shannon(sinr: np.ndarray) -> np.ndarray:
    """1 Hz at capacity."""
    return np.log2(1.0 + sinr)


def linear(sinr: np.ndarray) -> np.ndarray:
    """The rate is the SINR: tables are of rates."""
    return np.asarray(sinr, dtype=float)


class FakeState:
    def __init__(self, band: FakeBand, sinr: np.ndarray) -> None:
        self.band = band
        self.sinr = sinr

    def transmission(self, concentration: np.ndarray) -> Transmission:
        rate = self.band.law(self.sinr * concentration)
        one, band = np.ones(rate.shape), self.band
        if band.is_lossless:
            return Transmission.lossless(rate)
        return Transmission.of_blocks(
            rate * band.mean_transmissions / band.block_bits,
            band.block_bits * one,
            band.block_loss * one,
            band.mean_transmissions * one,
            band.retransmission_delay_s,
        )


@dataclass
class FakeBand:
    """Links of media; ``table`` [L][blocks] is their SINR without interference, its last column lasts."""

    table: Sequence[Sequence[float]]
    block_s: float = math.inf
    law: Callable[[np.ndarray], np.ndarray] = linear
    outage_timeout_s: float = math.inf
    medium: Any = None
    sender: Any = None
    receiver: Any = None
    is_lossless: bool = True
    is_coupled: bool = False
    interference: np.ndarray | None = None
    """Power of link j at the receiver of link i over noise [L, L], heard across media."""
    half_duplex: bool = False
    block_loss: float = 0.0
    block_bits: float = math.inf
    mean_transmissions: float = 1.0
    retransmission_delay_s: float = 0.0
    activities: list[tuple[list[int], list[float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.table)
        self.medium = np.zeros(count, int) if self.medium is None else np.array(self.medium)
        self.sender = np.arange(count) if self.sender is None else np.array(self.sender)
        self.receiver = np.full(count, count) if self.receiver is None else np.array(self.receiver)

    def sinr(self, link: int, block: int) -> float:
        row = self.table[link]
        return float(row[min(block, len(row) - 1)])

    def rate_bps(self, link: int, block: int) -> float:
        return float(self.law(np.array([self.sinr(link, block)]))[0])

    def duty(self, links: np.ndarray) -> np.ndarray:
        if not self.half_duplex:
            return np.ones(len(links))
        busy = set(self.sender[links].tolist()) & set(self.receiver[links].tolist())
        return np.array([0.5 if {self.sender[i], self.receiver[i]} & busy else 1.0 for i in links])

    def state(self, links: np.ndarray, activity: np.ndarray, block: int) -> FakeState:
        assert len(links) == len(activity)
        self.activities.append((links.tolist(), activity.tolist()))
        sinr = np.array([self.sinr(link, block) for link in links.tolist()])
        if self.interference is not None:
            apart = self.medium[links][:, None] != self.medium[links]
            sinr = sinr / (1.0 + activity @ (self.interference[np.ix_(links, links)] * apart))
        return FakeState(self, sinr)


@dataclass(frozen=True)
class Sent:
    t_end_s: float
    ended: Ended

    @property
    def airtime_s(self) -> float:
        return self.ended.legs[0].tx_airtime_s


Job = tuple[float, int | tuple[int, ...], float]
"""Arrival, link or route, bits."""


def send_all(
    make: Callable[[Environment, FakeBand], Media],
    band: FakeBand,
    jobs: Sequence[Job],
    aborts: Sequence[tuple[float, tuple[int, ...]]] = (),
) -> list[Sent]:
    """Send jobs, in order of arrival, and abort links; return how each job ended."""
    env = Environment()
    media = make(env, band)
    sent: dict[int, Sent] = {}

    def done(number: int, ended: Ended) -> None:
        assert number not in sent
        sent[number] = Sent(env.now, ended)

    def arrivals():
        for number, (t_s, links, bits) in enumerate(jobs):
            if t_s > env.now:
                yield env.timeout(t_s - env.now)
            media.start((links,) if isinstance(links, int) else links, bits, done, number)

    def breaks():
        for t_s, links in aborts:
            yield env.timeout(t_s - env.now)
            media.abort(links, "link_down")

    env.process(arrivals())
    env.process(breaks())
    env.run()
    assert media.num_active == 0
    return [sent[number] for number in range(len(jobs))]
