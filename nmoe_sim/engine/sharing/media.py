"""What the network asks of shared media, and what media ask of the radio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from channels.link_adaptation import Transmission

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

Outcome = Literal["delivered", "lost", "outage", "link_down"]
"""How a hop ends: the last bit is there; HARQ gave a block up; mute for too long; the link went away."""


class Leg(NamedTuple):
    """What one link of a transfer has used."""

    tx_airtime_s: float
    """Time its sender's radio was on for it: the integral of its share of that radio."""
    rx_airtime_s: float
    """Time its receiver's radio was on for it."""
    loss_exponent: float
    """-ln of the probability that HARQ lost nothing: the integral of rate x loss per bit."""
    retransmissions: float
    """Mean number of HARQ retransmissions over the whole hop."""
    last_retransmissions: float
    """Mean number of retransmissions of the last block, E[T] - 1; 0 if it was not delivered."""
    retransmission_delay_s: float
    """Time from a transmission to its retransmission."""
    block_bits: float
    """Bits of a block at the end, no more than the transfer has; infinite where nothing is ever lost."""
    sinr: float
    """SINR on the whole band when the first bit was sent, linear: that of the first plan it was in."""


class Ended(NamedTuple):
    """How a transfer ended on its media."""

    outcome: Outcome
    bits_sent: float
    legs: tuple[Leg, ...]


class Airtime(NamedTuple):
    """What one link of a transfer has used of the radios at its ends; see ``Leg``."""

    tx_airtime_s: float
    rx_airtime_s: float


Done = Callable[[Any, Ended], None]
"""done(payload, ended), called at the time a transfer ends."""


class Media(Protocol):
    """Media whose transfers are planned together: one medium, or several that interfere or share routes."""

    num_active: int
    """Transfers that have started and not ended."""

    def start(self, links: tuple[int, ...], bits: float, done: Done, payload: Any) -> None:
        """Start a transfer over links, by position: one, or, where the policy is end-to-end, a whole route."""

    def under_way(self) -> Iterator[tuple[Any, tuple[Airtime, ...]]]:
        """Yield the payload of every transfer, and what each of its links has used until now."""

    def abort(self, links: Iterable[int], outcome: Outcome) -> None:
        """End every transfer that uses one of these links, at once."""


class LinkState(Protocol):
    """Links as they are in one coherence block, under the interference of what transmits."""

    @property
    def sinr(self) -> FloatArray:
        """SINR of each link asked for [n], on the whole band, linear; infinite on a wire."""

    def transmission(self, concentration: FloatArray) -> Transmission:
        """Return what the links carry on the whole band if their SINR is multiplied by ``concentration``.

        Both are of shape [n], or [G, n] to ask for G concentrations of each link at once.
        """


class Band(Protocol):
    """The radio as media see it. Links are numbered by position; a node has one number everywhere."""

    block_s: float
    """Rates change at multiples of this only, as long as the same links transmit; infinite: never."""
    outage_timeout_s: float
    """A transfer without a rate for this long ends as an outage; infinite: it waits."""
    medium: IntArray
    """Medium of each link [L], numbered from 0."""
    sender: IntArray
    """Node that transmits on each link [L]."""
    receiver: IntArray
    """Node that receives on each link [L]."""
    is_lossless: bool
    """Whether every bit sent arrives, so that loss needn't be accounted for."""
    is_coupled: bool
    """Whether rates depend on which other links transmit, or routes cross several media."""

    def rate_bps(self, link: int, block: int) -> float:
        """Return the rate of one link that has its medium, and the air, to itself."""

    def sinr(self, link: int, block: int) -> float:
        """Return the SINR of one link that has its medium, and the air, to itself; linear."""

    def duty(self, links: IntArray) -> FloatArray:
        """Return which part of the time the radios at its ends leave to each active link [n].

        It scales shares of every plan, activities and airtimes: 1 unless a radio is active in several media of one
        band (concurrent sidelinks), among which it divides its time.
        """

    def state(self, links: IntArray, activity: FloatArray, block: int) -> LinkState:
        """Return the state of links [n] while each transmits for a fraction ``activity`` [n] of the time."""


def block_of(t_s: float, block_s: float) -> tuple[int, float]:
    """Return the coherence block in which a time lies and when that block ends; block k begins at k * block_s."""
    if math.isinf(block_s):
        return 0, math.inf
    block = int(t_s / block_s)
    if (block + 1) * block_s <= t_s:  # rounding at the boundary itself
        block += 1
    return block, (block + 1) * block_s
