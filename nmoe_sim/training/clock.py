"""The clock of a training stage: what moves and what runs, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from simpy import Interrupt, Process
from simpy.events import AllOf, ConditionValue, Event

from nmoe_sim.engine.network import MAX_ATTEMPTS
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.errors import RunError
from nmoe_sim.training.federation.history import Attempt, History

Steps = Generator[Event, Any, None]

AGAIN_S = 1.0
"""Pause before something is tried again that failed; an engineering assumption."""
BATTERY = "battery"
SERVER_DOWN = "server_down"
OUT_OF_REACH = "out_of_reach"
TRANSFER_LOST = "transfer_lost"


@dataclass
class StageClock:
    """Moves payloads and runs jobs of one stage, and keeps the books of its rounds.

    Inside a round (an ``Attempt`` is given) a client that goes down, or whose payload is lost, is out of
    it. What moves outside (an exchange before the first round, the broadcast after the last) has a null ``round``
    in the tables. It is insisted on until it is through, as are the server's jobs; unless a device's battery is
    empty, or nothing connects two devices any more but over such a one. Then its event's value is False.

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
        the attempt's ``reason`` says why, and the steps go no further. To end it early, see ``stop``.
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

    def stop(self, attempt: Attempt, process: Process, reason: str) -> Event | None:
        """End a client's part early, if it isn't over; returns what is under way, which goes on: nobody tells it."""
        if process.triggered:
            return None
        under_way: Event = process.target
        self.simulation.under_way.append(under_way)
        process.interrupt(reason)
        attempt.reason, attempt.t_end_s = reason, self.now_s
        return under_way

    def _why(self, client: int) -> str:
        """Return why something of a client's failed."""
        return self.why_away(client) or self.why_cut_off(client) or TRANSFER_LOST

    def why_away(self, client: int) -> str | None:
        """Return why a client can't take part now, None if it can."""
        return self.simulation.why_down(self.clients[client])

    def why_cut_off(self, client: int) -> str | None:
        """Return why a client that is up can't deal with the server now, None if it can."""
        if not self.simulation.is_up(self.server):
            return SERVER_DOWN
        return OUT_OF_REACH if self.is_hopeless(self.clients[client], self.server) else None

    def is_hopeless(self, *devices: str) -> bool:
        """Tell whether one of the devices is down for good, or two of them will never be connected again."""
        topology = self.simulation.topology
        if not topology.lacks_nodes:
            return False
        is_dead = any(self.simulation.why_down(name) == BATTERY for name in devices)
        return is_dead or not all(topology.is_connectable(devices[0], name) for name in devices)

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

    def move(self, src: str, dst: str, n_bytes: int, kind: str) -> Event:
        """Send a payload from any device to any other, outside rounds."""
        return self._send(src, dst, n_bytes, kind, None)

    def broadcast(self, n_bytes: int, kind: str) -> AllOf:
        """Send a payload from the server to every client."""
        return self.simulation.env.all_of([self.down(client, n_bytes, kind) for client in range(len(self.clients))])

    def _send(self, src: str, dst: str, n_bytes: int, kind: str, attempt: Attempt | None) -> Event:
        def send() -> Event:
            number = None if attempt is None else attempt.round
            return self.simulation.network.send(src, dst, n_bytes, kind, stage=self.stage, round=number)

        return send() if attempt is not None else self._insist(send, (src, dst))

    def job(
        self, client: int, flop: float, kind: str, attempt: Attempt | None = None, *, deadline_s: float = math.inf
    ) -> Event:
        """Run a job on a client's device, which may choose its clock by a deadline."""
        device = self.simulation.devices[self.clients[client]]
        if attempt is not None:
            return device.compute(flop, kind, stage=self.stage, round=attempt.round, deadline_s=deadline_s)
        return self._insist(lambda: device.compute(flop, kind, stage=self.stage, round=None), (device.name,))

    def server_job(self, flop: float, kind: str, number: int | None = None) -> Event:
        """Run a job on the server, for a round or outside."""
        device = self.simulation.devices[self.server]
        return self._insist(lambda: device.compute(flop, kind, stage=self.stage, round=number), (self.server,))

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
        """Try until it succeeds, or never can any more; most succeed at once, without a process."""
        first = attempt()
        if not self.simulation.can_fail:
            return first
        return self.simulation.env.process(self._again(first, attempt, devices))

    def _again(
        self, event: Event, attempt: Callable[[], Event], devices: tuple[str, ...]
    ) -> Generator[Event, Any, bool]:
        simulation = self.simulation
        for _ in range(MAX_ATTEMPTS):
            if (yield event):
                return True
            if all(map(simulation.is_up, devices)):  # lost on the way
                yield simulation.env.timeout(AGAIN_S)
            while not self.is_hopeless(*devices) and not all(map(simulation.is_up, devices)):
                yield simulation.availability.change
            if self.is_hopeless(*devices):
                return False
            event = attempt()
        raise RunError(
            f"training.{self.stage}: what {' and '.join(devices)} had to do outside the rounds failed "
            f"{MAX_ATTEMPTS:,} times; let devices be there for longer (faults), or radio.retry try more often"
        )


def _succeeded(value: Any) -> bool:
    if isinstance(value, ConditionValue):
        return all(_succeeded(one) for one in value.values())
    return value is not False
