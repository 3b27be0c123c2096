"""Without a server: clients train, and mix their models with those of their neighbours in the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, ClassVar

import networkx as nx
from pydantic import Field
from simpy.events import Event

from nmoe_sim.training.federation.federation import Federation
from nmoe_sim.training.federation.history import Mix
from nmoe_sim.training.federation.protocols.base import ProtocolSpec

if TYPE_CHECKING:
    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.training.federation.selection import Selection


class Gossip(ProtocolSpec):
    """Decentralised averaging with Metropolis weights, x_i ← y_i + Σ_j w_ij (y_j − y_i), w_ij = 1/(1 + max(d_i, d_j)).

    Neighbours are those of the round's clients that are one hop away when all have trained; d counts them. Where
    everything arrives, the weights are doubly stochastic and the mean of the models is kept (Xiao, Boyd and Lall
    2005); a lost model takes its term away on one side, which moves the mean. All selected clients are waited for.

    What needs one model in the end (a feature extractor that all share) takes ``consensus_rounds`` of mixing without
    training, and then the mean of the clients' models; how far they were from it is the metric
    ``consensus_distance``. All who can take part in them. That last step is our interpretation and isn't charged to
    the links. Clients count alike, whatever the number of their samples.
    """

    kind: ClassVar[str] = "gossip"
    has_rounds: ClassVar[bool] = True
    has_server: ClassVar[bool] = False

    consensus_rounds: Annotated[int, Field(ge=0, le=100_000)] = 5
    """Rounds of mixing after the last training, where clients need one model."""

    def check(self, selection: Selection) -> None:
        """Refuse a selection by the way to a server that nobody uses."""
        if selection.needs_server:
            raise ValueError(
                f"selection '{selection.kind}' chooses by the way to the server, which protocol 'gossip' doesn't use; "
                "set selection to all, random or energy_aware"
            )

    def check_topology(self, topology: Topology) -> None:
        """Refuse clients that no links between clients join with the others: nothing would be mixed."""
        direct: nx.Graph[str] = nx.Graph()
        direct.add_nodes_from(node.name for node in topology.devices)
        ends = [(link.src, link.dst) for link in topology.links]
        direct.add_edges_from((a.name, b.name) for a, b in ends if a.kind == b.kind == "device")
        first, *others = topology.devices
        joined = nx.node_connected_component(direct, first.name)
        if cut_off := [node.name for node in others if node.name not in joined]:
            shown = ", ".join(cut_off[:3]) + (f" and {len(cut_off) - 3} more" if len(cut_off) > 3 else "")
            raise ValueError(
                f"protocol 'gossip' has clients mix their models over links from device to device, and none lead from "
                f"{first.name} to {shown}; take a topology with sidelinks, such as grid, raise their range, or "
                "take a protocol with a server"
            )

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
        chosen = federation.select(number) if train else federation.able()
        attempts = federation.open_round(number, chosen)
        if train:
            trained = [clock.start(attempt, federation.train_alone(attempt)) for attempt in attempts]
            yield env.all_of(trained)
            attempts = [a for a, process in zip(attempts, trained, strict=True) if process.value]
        taking_part = {attempt.client: attempt for attempt in attempts}
        neighbours = {
            client: [other for other in federation.neighbours(client) if other in taking_part] for client in taking_part
        }
        n_bytes = federation.update_bytes if train else federation.costs.up_bytes
        edges = [(sender, receiver) for receiver, others in neighbours.items() for sender in others if n_bytes]
        sent = [
            clock.across(sender, receiver, n_bytes, "model", (taking_part[sender], taking_part[receiver]))
            for sender, receiver in edges
        ]
        yield env.all_of(sent)
        arrived = [edge for edge, event in zip(edges, sent, strict=True) if event.value]
        num_arrived = Counter(receiver for _, receiver in arrived)
        mixed = [clock.start(attempt, federation.mix(attempt, num_arrived[attempt.client])) for attempt in attempts]
        yield env.all_of(mixed)
        attempts = [a for a, process in zip(attempts, mixed, strict=True) if process.value]
        through = {attempt.client for attempt in attempts}
        mixes = [
            Mix(sender, receiver, 1.0 / (1 + max(len(neighbours[sender]), len(neighbours[receiver]))))
            for sender, receiver in arrived
            if receiver in through
        ]
        federation.close_gossip(attempts, mixes)
