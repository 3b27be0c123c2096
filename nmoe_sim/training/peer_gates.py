"""Stage 3, gates trained on a few peers at a time: RanGate and RollGate.

The published description (arXiv 2511.01743) names both beside FedGate and says no more than that gates are
trained by them. Our interpretation: in a round a client asks its own expert and ``peers_per_round`` others, drawn
anew (RanGate) or in turn (RollGate), and its gate chooses among these; experts or outputs move in the round
that first needs them; nothing of the gates is synchronised, since it is FedGate that is described by that. Requests
then choose among all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from nmoe_sim.scenario.quantities import Count
from nmoe_sim.training.fedgate import FedGate
from nmoe_sim.training.learning import Learning


class FewPeers(FedGate):
    """Gates trained on some peers a round; subclasses implement ``choose``."""

    exchanges_in_rounds: ClassVar[bool] = True

    synchronise: Literal["shared", "all", "none"] = "none"
    """Parts averaged in a round."""
    peers_per_round: Count = 2
    """Peers beside the client itself in a round; all, where there are fewer."""

    @abstractmethod
    def choose(self, learning: Learning, client: int, counter: int, others: Sequence[int]) -> list[int]:
        """Return the peers of a client's part of a round, of the others it may ask.

        Parameters
        ----------
        learning, client, counter
            As of ``FedGate.peers_of``.
        others : sequence of int
            Other clients, rising.
        """

    def peers_of(self, learning: Learning, client: int, counter: int, pool: Sequence[int]) -> list[int]:
        """See ``FedGate``."""
        others = [other for other in pool if other != client]
        return sorted([client, *self.choose(learning, client, counter, others)])


class RanGate(FewPeers):
    """Each client draws its peers anew in each round, uniformly without replacement."""

    kind: ClassVar[str] = "ran_gate"
    title: ClassVar[str] = "RanGate"

    def choose(self, learning: Learning, client: int, counter: int, others: Sequence[int]) -> list[int]:
        """See ``FewPeers``; of stream ``gate_peers``, by client, counter and peer."""
        draws = learning.simulation.streams.uniform("gate_peers", client, counter, list(others)).tolist()
        return [other for _, other in sorted(zip(draws, others, strict=True))[: self.peers_per_round]]


class RollGate(FewPeers):
    """Each client goes round all others: first those numbered next after it, then the next ones, and over again."""

    kind: ClassVar[str] = "roll_gate"
    title: ClassVar[str] = "RollGate"

    def choose(self, learning: Learning, client: int, counter: int, others: Sequence[int]) -> list[int]:
        """See ``FewPeers``."""
        ring = [other for other in others if other > client] + [other for other in others if other < client]
        first, number = counter * self.peers_per_round, min(self.peers_per_round, len(ring))
        return [ring[(first + place) % len(ring)] for place in range(number)]
