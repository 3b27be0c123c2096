"""Family ``selection``: which clients take part in a round.

A selection sees the clients that can begin now, what the network is expected to carry, and what
devices report of their batteries; never what is going to happen.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import model_validator

from nmoe_sim.scenario.quantities import Fraction
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from nmoe_sim.training.clock import StageClock


@dataclass(frozen=True)
class Candidates:
    """Who can be chosen, and what is known of them."""

    clients: Sequence[int]
    """Clients that can begin now, in order."""
    num_clients: int
    """All clients, also those that can't."""
    round: int
    """Round that they are chosen for; where there are none, a number that rises with every choice."""
    turns: Sequence[int]
    """How often each client, by number, has begun."""
    num_samples: Sequence[int]
    """Training samples of each client, by number."""
    clock: StageClock

    def delay_s(self, client: int, n_bytes: int = 1_000_000) -> float:
        """Return the expected time of a payload from a client to the server, at mean SNR without contention."""
        clock = self.clock
        return clock.simulation.outlook().delay_s(clock.clients[client], clock.server, n_bytes)

    def battery_j(self, client: int) -> float:
        """Return the energy left in a client's battery; infinite on mains."""
        return self.clock.simulation.battery_j_left(self.clock.clients[client])

    def draw(self, name: str) -> dict[int, float]:
        """Return a uniform draw for each client: a function of stage, round and client."""
        streams, clients = self.clock.simulation.streams, np.arange(self.num_clients)
        draws = streams.uniform(f"selection/{self.clock.stage}/{name}", self.round, clients)
        return {client: float(draws[client]) for client in self.clients}


class Selection(Spec):
    """Chooses clients; subclasses implement ``rank``."""

    needs_server: ClassVar[bool] = False
    """Whether clients are chosen by their way to the server."""

    share: Fraction = 1.0
    """Share of all clients that take part at a time, rounded up."""

    def number(self, num_clients: int) -> int:
        """Return how many clients take part at a time."""
        return rounded_up(self.share * num_clients)

    def choose(self, candidates: Candidates, count: int | None = None) -> list[int]:
        """Return the chosen clients, best first.

        Parameters
        ----------
        candidates : Candidates
        count : int, optional
            How many; ``number`` by default. Fewer, if there are fewer candidates.
        """
        wanted = self.number(candidates.num_clients) if count is None else count
        return self.rank(candidates)[:wanted]

    @abstractmethod
    def rank(self, candidates: Candidates) -> list[int]:
        """Return the candidates in order, best first."""

    def sampling_rate(self, num_clients: int) -> float:
        """Return the probability that privacy accounting may count on: 1 unless every client is drawn by itself."""
        return 1.0


def rounded_up(number: float) -> int:
    """Return a number of clients rounded up: 7 % of 100 are 7, though in floating point they are a little more."""
    return math.ceil(round(number, 9))


class AllClients(Selection):
    """Every client that can."""

    kind: ClassVar[str] = "all"

    @model_validator(mode="after")
    def _takes_all(self) -> AllClients:
        if self.share != 1.0:
            raise ValueError(
                f"selection 'all' with share {self.share:g} would take the clients of the lowest numbers for ever; "
                "set share to 1, or kind to random or round_robin"
            )
        return self

    def rank(self, candidates: Candidates) -> list[int]:
        """Return them in order."""
        return list(candidates.clients)


class RandomClients(Selection):
    """Uniformly at random, without replacement."""

    kind: ClassVar[str] = "random"

    share: Fraction = 0.5
    """Share of all clients that take part at a time, rounded up."""

    def rank(self, candidates: Candidates) -> list[int]:
        """Return them in random order."""
        draws = candidates.draw("random")
        return sorted(candidates.clients, key=lambda client: draws[client])


class PoissonClients(RandomClients):
    """Every client by itself with probability ``share``: what privacy by subsampling is derived for.

    The number of clients varies; a round may have none.
    """

    kind: ClassVar[str] = "poisson"

    def choose(self, candidates: Candidates, count: int | None = None) -> list[int]:
        """Return the clients drawn; where a number is asked for (a client is replaced), so many at random."""
        if count is not None:
            return self.rank(candidates)[:count]
        draws = candidates.draw("poisson")
        return [client for client in candidates.clients if draws[client] < self.share]

    def sampling_rate(self, num_clients: int) -> float:
        """Return the probability of a client to be in a round."""
        return self.share


class RoundRobin(Selection):
    """In turns: those who have begun the least often, in order. Who was away catches up."""

    kind: ClassVar[str] = "round_robin"

    share: Fraction = 0.5
    """Share of all clients that take part at a time, rounded up."""

    def rank(self, candidates: Candidates) -> list[int]:
        """Return them by the turns they have had."""
        return sorted(candidates.clients, key=lambda client: (candidates.turns[client], client))


class ChannelAware(Selection):
    """Those whose uplink is expected to be the fastest now; ties in order (cf. Nishio and Yonetani 2019)."""

    kind: ClassVar[str] = "channel_aware"
    needs_server: ClassVar[bool] = True

    share: Fraction = 0.5
    """Share of all clients that take part at a time, rounded up."""

    def rank(self, candidates: Candidates) -> list[int]:
        """Return them by expected time to the server."""
        return sorted(candidates.clients, key=candidates.delay_s)


class EnergyAware(Selection):
    """Those with the most energy left; devices on mains first, ties at random."""

    kind: ClassVar[str] = "energy_aware"

    share: Fraction = 0.5
    """Share of all clients that take part at a time, rounded up."""

    def rank(self, candidates: Candidates) -> list[int]:
        """Return them by energy left."""
        draws = candidates.draw("energy")
        return sorted(candidates.clients, key=lambda client: (-candidates.battery_j(client), draws[client]))
