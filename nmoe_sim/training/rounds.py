"""The clock of a federated stage: what moves and what runs, round by round."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from simpy.events import AllOf, Event

from nmoe_sim.engine.simulation import Simulation

Steps = Generator[Event, Any, None]


@dataclass(frozen=True)
class Round:
    """What the clock found out about one round; lists are by client."""

    t_start_s: float
    t_closed_s: float
    """When the server was through with it."""
    t_end_s: list[float]
    """When each client's part was over."""
    bytes_down: list[int]
    """Bytes to each client, end to end; 0 for a client that is the server."""
    bytes_up: list[int]
    """Bytes from each client, end to end."""


@dataclass
class StageClock:
    """Moves payloads and runs jobs of one stage, and keeps the books of its rounds.

    What moves outside a round (an exchange before the first, the broadcast after the last) has a null
    ``round`` in the tables and is in no round's bytes.

    Parameters
    ----------
    simulation : Simulation
    stage : str
        Name of the stage in the tables.
    clients : sequence of str
        Device of each client.
    server : str
        Device that aggregates.
    """

    simulation: Simulation
    stage: str
    clients: Sequence[str]
    server: str
    rounds: list[Round] = field(default_factory=list)
    _round: Round | None = None

    @property
    def _number(self) -> int | None:
        return len(self.rounds) if self._round is not None else None

    def begin_round(self) -> None:
        """Start a round."""
        now, num_clients = self.simulation.env.now, len(self.clients)
        self._round = Round(now, now, [now] * num_clients, [0] * num_clients, [0] * num_clients)

    def end_round(self) -> None:
        """Close the round and keep its books."""
        if self._round is None:
            raise ValueError("no round has begun")
        self.rounds.append(replace(self._round, t_closed_s=self.simulation.env.now))
        self._round = None
        self.simulation.recorder.spill()

    def each(self, step: Callable[[int], Steps]) -> AllOf:
        """Run ``step(client)`` for all clients at once; the event fires when all are through."""
        env = self.simulation.env
        return env.all_of([env.process(self._timed(client, step)) for client in range(len(self.clients))])

    def _timed(self, client: int, step: Callable[[int], Steps]) -> Steps:
        yield from step(client)
        if self._round is not None:
            self._round.t_end_s[client] = self.simulation.env.now

    def down(self, client: int, n_bytes: int, kind: str) -> Event:
        """Send a payload from the server to a client."""
        if self._round is not None and self.clients[client] != self.server:
            self._round.bytes_down[client] += n_bytes
        return self._send(self.server, self.clients[client], n_bytes, kind)

    def up(self, client: int, n_bytes: int, kind: str) -> Event:
        """Send a payload from a client to the server."""
        if self._round is not None and self.clients[client] != self.server:
            self._round.bytes_up[client] += n_bytes
        return self._send(self.clients[client], self.server, n_bytes, kind)

    def broadcast(self, n_bytes: int, kind: str) -> AllOf:
        """Send a payload from the server to every client."""
        return self.simulation.env.all_of([self.down(client, n_bytes, kind) for client in range(len(self.clients))])

    def across(self, src: int, dst: int, n_bytes: int, kind: str) -> Event:
        """Send a payload from client to client."""
        return self._send(self.clients[src], self.clients[dst], n_bytes, kind)

    def _send(self, src: str, dst: str, n_bytes: int, kind: str) -> Event:
        return self.simulation.network.send(src, dst, n_bytes, kind, stage=self.stage, round=self._number)

    def job(self, client: int, flop: float, kind: str) -> Event:
        """Run a job on a client's device."""
        return self._job(self.clients[client], flop, kind)

    def server_job(self, flop: float, kind: str) -> Event:
        """Run a job on the server."""
        return self._job(self.server, flop, kind)

    def _job(self, device: str, flop: float, kind: str) -> Event:
        return self.simulation.devices[device].compute(flop, kind, stage=self.stage, round=self._number)
