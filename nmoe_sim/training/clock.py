"""The clock of a training stage: what moves and what runs, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from simpy import Interrupt, Process
from simpy.events import AllOf, ConditionValue, Event

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.training.federation.history import Attempt, History

Steps = Generator[Event, Any, None]

AGAIN_S = 1.0
"""Pause before something is tried again that a device was away for; an engineering assumption."""
BATTERY = "battery"


@dataclass
class StageClock:
    """Moves payloads and runs jobs of one stage, and keeps the books of its rounds.

    Inside a round (an ``Attempt`` is given) a client that goes down, or whose payload is lost, is out of
    it. What moves outside (an exchange before the first round, the broadcast after the last) is insisted on
    until it is through, unless a device's battery is empty; it has a null ``round`` in the tables.

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
    history: History = field(default_factory=History)

    @property
    def now_s(self) -> float:
        """Return the time."""
        return self.simulation.env.now

    # --- rounds ----------------------------------------------------------------------------------------

    def begin(self, client: int, number: int, reason: str | None = None) -> Attempt:
        """Open a client's part of a round; with a reason it is over at once."""
        attempt = Attempt(client, number, self.now_s, self.now_s, reason=reason)
        self.history.attempts.append(attempt)
        return attempt

    def start(self, attempt: Attempt, steps: Steps) -> Process:
        """Run a client's steps; the process's value is whether all succeeded.

        Each event of ``steps`` has a value that says whether it succeeded; after the first that didn't,
        the attempt's ``reason`` says why, and the steps go no further. Interrupt the process with
        a reason to end it early: what is under way then goes on, nobody tells it.
        """
        return self.simulation.env.process(self._drive(attempt, steps))

    def _drive(self, attempt: Attempt, steps: Steps) -> Generator[Event, Any, bool]:
        try:
            for event in steps:
                if not _succeeded((yield event)):
                    attempt.reason = self._why(attempt.client)
                    return False
        except Interrupt as interrupt:
            attempt.reason = interrupt.cause
            return False
        finally:
            attempt.t_end_s = self.now_s
            steps.close()
        return True

    def _why(self, client: int) -> str:
        """Return why something of a client's failed."""
        return self.simulation.why_down(self.clients[client]) or "transfer_lost"

    def why_away(self, client: int) -> str | None:
        """Return why a client can't take part now, None if it can."""
        return self.simulation.why_down(self.clients[client])

    def neighbours(self, client: int) -> list[int]:
        """Return the clients one hop away now."""
        topology = self.simulation.topology
        links = [topology.link(self.clients[client], name) for name in self.clients]
        return [other for other, link in enumerate(links) if link is not None and topology.is_up(link)]

    # --- payloads and jobs -----------------------------------------------------------------------------

    def down(self, client: int, n_bytes: int, kind: str, attempt: Attempt | None = None) -> Event:
        """Send a payload from the server to a client."""
        if attempt is not None and self.clients[client] != self.server:
            attempt.bytes_down += n_bytes
        return self._send(self.server, self.clients[client], n_bytes, kind, attempt)

    def up(self, client: int, n_bytes: int, kind: str, attempt: Attempt | None = None) -> Event:
        """Send a payload from a client to the server."""
        if attempt is not None and self.clients[client] != self.server:
            attempt.bytes_up += n_bytes
        return self._send(self.clients[client], self.server, n_bytes, kind, attempt)

    def across(
        self, src: int, dst: int, n_bytes: int, kind: str, attempts: tuple[Attempt, Attempt] | None = None
    ) -> Event:
        """Send a payload from client to client; with ``attempts``, those of the sender and the receiver."""
        if attempts is None:
            return self._send(self.clients[src], self.clients[dst], n_bytes, kind, None)
        attempts[0].bytes_up += n_bytes
        attempts[1].bytes_down += n_bytes
        return self._send(self.clients[src], self.clients[dst], n_bytes, kind, attempts[0])

    def broadcast(self, n_bytes: int, kind: str) -> AllOf:
        """Send a payload from the server to every client."""
        return self.simulation.env.all_of([self.down(client, n_bytes, kind) for client in range(len(self.clients))])

    def _send(self, src: str, dst: str, n_bytes: int, kind: str, attempt: Attempt | None) -> Event:
        def send() -> Event:
            number = None if attempt is None else attempt.round
            return self.simulation.network.send(src, dst, n_bytes, kind, stage=self.stage, round=number)

        return send() if attempt is not None else self._insist(send, (src, dst))

    def job(self, client: int, flop: float, kind: str, attempt: Attempt | None = None) -> Event:
        """Run a job on a client's device."""
        return self._job(self.clients[client], flop, kind, attempt)

    def server_job(self, flop: float, kind: str, number: int | None = None) -> Event:
        """Run a job on the server, for a round or outside."""
        device = self.simulation.devices[self.server]
        return self._insist(lambda: device.compute(flop, kind, stage=self.stage, round=number), (self.server,))

    def _job(self, name: str, flop: float, kind: str, attempt: Attempt | None) -> Event:
        device = self.simulation.devices[name]
        if attempt is not None:
            return device.compute(flop, kind, stage=self.stage, round=attempt.round)
        return self._insist(lambda: device.compute(flop, kind, stage=self.stage, round=None), (name,))

    def each(self, step: Callable[[int], Steps]) -> AllOf:
        """Run ``step(client)`` for all clients at once, outside rounds; the event fires when all are through."""
        env = self.simulation.env
        return env.all_of([env.process(self._whole(step(client))) for client in range(len(self.clients))])

    def _whole(self, steps: Steps) -> Generator[Event, Any, bool]:
        for event in steps:
            if not _succeeded((yield event)):
                steps.close()
                return False
        return True

    def _insist(self, attempt: Callable[[], Event], devices: tuple[str, ...]) -> Event:
        """Try until it succeeds, or a device is gone for good; most succeed at once, without a process."""
        first = attempt()
        if not self.simulation.can_fail:
            return first
        return self.simulation.env.process(self._again(first, attempt, devices))

    def _again(
        self, event: Event, attempt: Callable[[], Event], devices: tuple[str, ...]
    ) -> Generator[Event, Any, bool]:
        while not (yield event):
            if any(self.simulation.why_down(name) == BATTERY for name in devices):
                return False
            yield self.simulation.env.timeout(AGAIN_S)
            event = attempt()
        return True


def _succeeded(value: Any) -> bool:
    if isinstance(value, ConditionValue):
        return all(_succeeded(one) for one in value.values())
    return value is not False
