"""Without a server: clients train, and mix their models with those of their neighbours in the graph."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, ClassVar

from pydantic import Field
from simpy.events import Event

from nmoe_sim.training.federation.federation import Federation
from nmoe_sim.training.federation.history import Mix
from nmoe_sim.training.federation.protocols.base import ProtocolSpec


class Gossip(ProtocolSpec):
    """Decentralised averaging with Metropolis weights, x_i ← y_i + Σ_j w_ij (y_j − y_i), w_ij = 1/(1 + max(d_i, d_j)).

    Neighbours are the clients linked by one hop at the round's start; d counts them. Where everything arrives, the
    weights are doubly stochastic and the mean of the models is kept (Xiao, Boyd and Lall 2005); a lost model takes
    its term away on one side, which moves the mean. All selected clients are waited for.

    What needs one model in the end (a feature extractor that all share) takes ``consensus_rounds`` of mixing without
    training, and then the mean of the clients' models; how far they were from it is the metric
    ``consensus_distance``. That last step is our interpretation and isn't charged to the links.
    """

    kind: ClassVar[str] = "gossip"
    has_rounds: ClassVar[bool] = True
    has_server: ClassVar[bool] = False

    consensus_rounds: Annotated[int, Field(ge=0, le=100_000)] = 5
    """Rounds of mixing after the last training, where clients need one model."""

    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """See ``ProtocolSpec``."""
        for number in range(federation.rounds):
            yield from federation.await_candidate()
            yield from self._round(federation, number, train=True)
        for number in range(self.consensus_rounds if federation.needs_consensus else 0):
            yield from federation.await_candidate()
            yield from self._round(federation, federation.rounds + number, train=False)

    def _round(self, federation: Federation, number: int, *, train: bool) -> Generator[Event, None, None]:
        """Let the selected train, then send their models to each other, then mix: in step, each waits for all."""
        clock, env = federation.clock, federation.simulation.env
        attempts = federation.open_round(number, federation.select(number))
        if train:
            trained = [clock.start(attempt, federation.train_alone(attempt)) for attempt in attempts]
            yield env.all_of(trained)
            attempts = [a for a, process in zip(attempts, trained, strict=True) if process.value]
        taking_part = {attempt.client: attempt for attempt in attempts}
        neighbours = {
            client: [other for other in federation.neighbours(client) if other in taking_part] for client in taking_part
        }
        edges = [(sender, receiver) for receiver, others in neighbours.items() for sender in others]
        n_bytes = federation.update_bytes
        sent = [
            clock.across(sender, receiver, n_bytes, "model", (taking_part[sender], taking_part[receiver]))
            for sender, receiver in edges
        ]
        yield env.all_of(sent)
        mixes = [
            Mix(sender, receiver, 1.0 / (1 + max(len(neighbours[sender]), len(neighbours[receiver]))))
            for (sender, receiver), event in zip(edges, sent, strict=True)
            if event.value
        ]
        mixed = [clock.start(a, federation.mix(a, len(neighbours[a.client]))) for a in attempts]
        yield env.all_of(mixed)
        federation.close_gossip([a for a in attempts if a.reason is None], mixes)
