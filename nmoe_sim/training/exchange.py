"""How clients come by the experts' outputs for their own training samples, which gates are trained on."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from simpy import Process
from simpy.events import AllOf, Event

from nmoe_sim.training.clock import StageClock, Steps
from nmoe_sim.training.federation.history import Attempt
from nmoe_sim.training.learning import Learning

Getting = Generator[Event, Any, None]


@dataclass
class Exchange:
    """Moves experts or outputs, and keeps who has what: nothing is moved or computed twice, as experts are fixed.

    ``experts``: a client gets an expert and computes its outputs. By way of the server its owner uploads it
    once; else owner and client deal directly. ``outputs``: the client sends the features of its samples to the
    expert's owner, who computes and returns the outputs.

    What other devices than the client send or compute isn't part of the client's round: it is insisted on,
    unless a battery is empty, and has a null ``round`` in the tables.

    Parameters
    ----------
    learning : Learning
    clock : StageClock
    how : {"experts", "outputs"}
    by_server : bool
        Whether experts go by way of the server.
    """

    learning: Learning
    clock: StageClock
    how: Literal["experts", "outputs"]
    by_server: bool
    known: list[set[int]] = field(default_factory=list)
    """Experts whose outputs for its samples each client has."""
    _held: list[set[int]] = field(default_factory=list)
    _uploads: dict[int, Process] = field(default_factory=dict)
    _at_server: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known = [set() for _ in self.learning.clients]
        self._held = [{client} for client in range(len(self.learning.clients))]

    def everything(self, peers: Sequence[Sequence[int]]) -> AllOf:
        """Get every client what it can get of its peers' outputs, outside rounds."""
        return self.clock.each(lambda client: self._get(client, peers[client], None))

    def part(self, attempt: Attempt, peers: Collection[int]) -> Steps:
        """Get a client what it lacks of its peers' outputs, in its part of a round; it fails if something can't be."""
        yield from self._get(attempt.client, peers, attempt)
        if not self.known[attempt.client].issuperset(peers):
            yield self.clock.simulation.env.timeout(0.0, value=False)

    def _get(self, client: int, peers: Iterable[int], attempt: Attempt | None) -> Steps:
        missing = [expert for expert in peers if expert not in self.known[client]]
        if not missing:
            return
        if self.how == "outputs":
            yield self._all([self._ask(client, owner) for owner in missing])
            return
        foreign = [expert for expert in missing if expert not in self._held[client]]
        if foreign:
            yield from self._fetch(client, foreign, attempt)
        ready = [expert for expert in missing if expert in self._held[client]]
        yield self.clock.job(client, len(ready) * self._job_flop(client), "expert", attempt)
        self.known[client].update(ready)

    def _fetch(self, client: int, experts: Sequence[int], attempt: Attempt | None) -> Steps:
        if not self.by_server:
            yield self._all([self._receive(client, owner) for owner in experts])
            return
        yield self.clock.simulation.env.all_of([self._uploaded(owner) for owner in experts])
        there = [expert for expert in experts if expert in self._at_server]
        if there:
            yield self.clock.down(client, len(there) * self.learning.costs.expert_bytes, "expert", attempt)
            self._held[client].update(there)

    def _uploaded(self, owner: int) -> Process:
        """Return the upload of an expert, begun now if it wasn't before."""
        if owner not in self._uploads:
            self._uploads[owner] = self.clock.simulation.env.process(self._upload(owner))
        return self._uploads[owner]

    # --- one thing from one peer; these end where something can't be had ---------------------------------

    def _upload(self, owner: int) -> Getting:
        if (yield self.clock.up(owner, self.learning.costs.expert_bytes, "expert")):
            self._at_server.add(owner)

    def _receive(self, client: int, owner: int) -> Getting:
        if (yield self.clock.across(owner, client, self.learning.costs.expert_bytes, "expert")):
            self._held[client].add(owner)

    def _ask(self, client: int, owner: int) -> Getting:
        clock, num_samples, costs = self.clock, self.learning.data.num_train[client], self.learning.costs
        if not (yield clock.across(client, owner, num_samples * costs.features_bytes, "features")):
            return
        if not (yield clock.job(owner, self._job_flop(client), "expert")):
            return
        if (yield clock.across(owner, client, num_samples * costs.output_bytes, "output")):
            self.known[client].add(owner)

    def _all(self, parts: Iterable[Getting]) -> AllOf:
        env = self.clock.simulation.env
        return env.all_of([env.process(part) for part in parts])

    def _job_flop(self, client: int) -> float:
        """Return the FLOP of one expert's outputs for all of a client's samples."""
        return float(self.learning.costs.expert_flop * self.learning.data.num_train[client])
