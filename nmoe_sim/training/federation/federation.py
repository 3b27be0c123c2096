"""What a round protocol works with: the clients, what a round costs, who can take part."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simpy import Process
from simpy.events import Event

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.training.clock import StageClock, Steps
from nmoe_sim.training.federation.contracts import arrived_work, checked_choice
from nmoe_sim.training.federation.history import Arrival, Attempt, History, Mix, Rule, Step
from nmoe_sim.training.federation.selection import Candidates

if TYPE_CHECKING:
    from nmoe_sim.training.federation.selection import Selection

NOT_SELECTED = "not_selected"
BUSY = "busy"
UNFINISHED = "unfinished"

Running = dict[int, tuple[Attempt, Process]]
"""Parts of clients that are at work, by client."""


@dataclass(frozen=True)
class Report:
    """Something every client tells before it trains, and gets the others' mean of in return: FedSC's matrix."""

    n_bytes: int
    flop: Sequence[float]
    """FLOP of computing it, by client."""
    mean_flop: float
    """FLOP of adding one to the mean."""
    kind: str
    """Name of its payloads and jobs in the tables."""

    @property
    def means_flop(self) -> float:
        """FLOP of one in the mean of all, and in those of all but each, which go back."""
        return 2 * self.mean_flop


@dataclass(frozen=True)
class RoundCosts:
    """Declared costs of a client's part of a round."""

    down_bytes: int
    """Model to a client; 0: nothing is sent."""
    up_bytes: int
    """Update from a client, compressed; 0: nothing is sent."""
    train_flop: Sequence[float]
    """FLOP of local training, by client."""
    mean_flop: float
    """FLOP of adding one update to the mean."""
    report: Report | None = None
    prelude: Callable[[StageClock, Attempt], Steps] | None = None
    """What a client does first in its part of a round, such as fetching experts."""


@dataclass
class Federation:
    """One stage's rounds on the clock.

    A protocol begins parts of clients (``begin``) or whole rounds (``open_round``), runs ``part`` for each, and closes
    versions.
    """

    clock: StageClock
    costs: RoundCosts
    rounds: int
    """Versions of the model to make."""
    needs_consensus: bool
    """Whether clients that have models of their own need one in the end."""
    has_server: bool
    """Whether clients need the server to take part."""
    selection: Selection
    num_samples: Sequence[int]
    """Training samples of each client."""
    deadline_s: float = math.inf
    """When the round ends at the latest."""
    version: int = 0
    """Newest version of the model."""
    busy: set[int] = field(default_factory=set)
    """Clients that are at work for longer than a round."""
    _turns: list[int] = field(default_factory=list)
    _pauses: dict[int, Event] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns = [0] * len(self.clock.clients)

    @property
    def simulation(self) -> Simulation:
        """Return the live simulation."""
        return self.clock.simulation

    @property
    def clients(self) -> range:
        """Return the clients' numbers."""
        return range(len(self.clock.clients))

    # --- who takes part --------------------------------------------------------------------------------

    def reasons(self) -> list[str | None]:
        """Return why each client can't begin now, None where it can."""
        return [self._why_not(client) for client in self.clients]

    def _why_not(self, client: int) -> str | None:
        if (reason := self.clock.why_away(client)) is not None:
            return reason
        if self.has_server and (reason := self.clock.why_cut_off(client)) is not None:
            return reason
        is_pausing = client in self._pauses and not self._pauses[client].processed
        return BUSY if is_pausing or client in self.busy else None

    def able(self) -> list[int]:
        """Return the clients that can begin now."""
        return [client for client, reason in enumerate(self.reasons()) if reason is None]

    def select(self, number: int, count: int | None = None) -> list[int]:
        """Return the clients chosen for a round among those that can begin now; ``count`` of them, if given."""
        able = self.able()
        candidates = Candidates(able.copy(), len(self.clients), number, self._turns, self.num_samples, self.clock)
        who = f"training.{self.clock.stage}: selection '{self.selection.kind}'"
        return checked_choice(self.selection.choose(candidates, count), able, count, who)

    @property
    def is_over(self) -> bool:
        """Whether no client will ever be able to begin again."""
        names = self.clock.clients
        return all(self.clock.is_hopeless(name, *[self.clock.server] * self.has_server) for name in names)

    def await_candidate(self) -> Generator[Event, None, None]:
        """Wait while nobody can begin and nobody is at work, as long as somebody may come back."""
        while not self.busy and not self.is_over and None not in self.reasons():
            yield self.somebody_back()
            yield self.simulation.env.timeout(0.0)  # others may come back at the same time

    def somebody_back(self) -> Event:
        """Return an event that fires when a client's reason not to begin may be gone."""
        pauses = [pause for pause in self._pauses.values() if not pause.processed]
        return self.simulation.env.any_of([self.simulation.availability.change, *pauses])

    def begin(self, client: int, number: int) -> Attempt:
        """Open the part of a client that was chosen."""
        self._turns[client] += 1
        return self.clock.begin(client, number)

    def begin_turn(self, client: int) -> Attempt:
        """Open the part of a client where there are no rounds: they are numbered client by client."""
        return self.begin(client, self._turns[client])

    def open_round(self, number: int, chosen: Sequence[int]) -> list[Attempt]:
        """Open every client's part; those of the clients that aren't chosen are over at once, with the reason."""
        reasons, attempts = self.reasons(), []
        for client in self.clients:
            if client in chosen:
                attempts.append(self.begin(client, number))
            else:
                self.clock.begin(client, number, reasons[client] or NOT_SELECTED)
        return attempts

    def stop(self, attempt: Attempt, process: Process, reason: str) -> None:
        """Let a client's part not count, and end it; the client is busy until what is under way is through."""
        if process.triggered and process.value:
            attempt.reason = reason
        under_way = self.clock.stop(attempt, process, reason)
        if under_way is not None:
            self._pauses[attempt.client] = self._end_of(under_way)

    def _end_of(self, event: Event) -> Event:
        """Return an event of its own that fires when another has: ``any_of`` undoes conditions that it waits for."""
        end = self.simulation.env.event()

        def fire(_: Event) -> None:
            end.succeed()

        assert event.callbacks is not None, "it is under way"
        event.callbacks.append(fire)
        return end

    def pause(self, client: int, seconds: float) -> None:
        """Let a client not begin again before so long."""
        self._pauses[client] = self.simulation.env.timeout(seconds)

    def neighbours(self, client: int) -> list[int]:
        """Return the clients one hop away now."""
        return self.clock.neighbours(client)

    # --- a client's part -------------------------------------------------------------------------------

    def report(self, attempt: Attempt) -> Steps:
        """Get the model, compute the report, send it; a round's first half."""
        report = self._report
        yield from self._prelude(attempt)
        yield self.clock.down(attempt.client, self.costs.down_bytes, "model_down", attempt)
        yield self.clock.job(attempt.client, report.flop[attempt.client], report.kind, attempt)
        yield self.clock.up(attempt.client, report.n_bytes, report.kind, attempt)

    def train_after_report(self, attempt: Attempt) -> Steps:
        """Get the others' mean report, train, send the update; a round's second half."""
        report = self._report
        yield self.clock.down(attempt.client, report.n_bytes, report.kind, attempt)
        yield from self._train(attempt, self.version, self.costs.train_flop[attempt.client], self.costs.up_bytes)

    def part(self, attempt: Attempt) -> Steps:
        """Get the model, train, send the update; with a report, it and the others' mean come along."""
        yield from self._prelude(attempt)
        base = self.version
        if down_bytes := self.costs.down_bytes + self._report_bytes:
            yield self.clock.down(attempt.client, down_bytes, "model_down", attempt)
        yield from self._train(attempt, base, self._train_flop(attempt.client), self.update_bytes)

    def train_alone(self, attempt: Attempt) -> Steps:
        """Train from the client's own model, with its report; nothing is sent."""
        yield from self._prelude(attempt)
        yield self.clock.job(attempt.client, self._train_flop(attempt.client), "local_train", attempt)
        attempt.work = self.history.add_work(attempt.client, attempt.round, self.version)

    def mix(self, attempt: Attempt, num_models: int) -> Steps:
        """Add neighbours' models to the client's own."""
        yield self.clock.job(attempt.client, self.costs.mean_flop * num_models, "aggregate", attempt)

    def _train(self, attempt: Attempt, base: int, flop: float, up_bytes: int) -> Steps:
        deadline_s = self._trained_by_s(attempt.client, up_bytes)
        yield self.clock.job(attempt.client, flop, "local_train", attempt, deadline_s=deadline_s)
        attempt.work = self.history.add_work(attempt.client, attempt.round, base)
        if up_bytes:
            yield self.clock.up(attempt.client, up_bytes, "model_up", attempt)

    def _trained_by_s(self, client: int, up_bytes: int) -> float:
        """Return when training must end for the update to arrive in time, as far as the network can be known.

        All who choose their clock by the same deadline upload at the same time, so a client reckons with as many
        uploads beside its own as clients are at work.
        """
        if math.isinf(self.deadline_s):
            return math.inf
        way_s = self.simulation.outlook().delay_s(self.clock.clients[client], self.clock.server, up_bytes)
        return self.deadline_s - way_s * max(1, len(self.busy))

    def _train_flop(self, client: int) -> float:
        """Return the FLOP of local training and of the report that travels with the update."""
        report = self.costs.report
        return self.costs.train_flop[client] + (0.0 if report is None else report.flop[client])

    @property
    def _report_bytes(self) -> int:
        return 0 if self.costs.report is None else self.costs.report.n_bytes

    @property
    def update_bytes(self) -> int:
        """Return the bytes of an update together with its report."""
        return self.costs.up_bytes + self._report_bytes

    def _prelude(self, attempt: Attempt) -> Iterable[Event]:
        return () if self.costs.prelude is None else self.costs.prelude(self.clock, attempt)

    @property
    def _report(self) -> Report:
        assert self.costs.report is not None
        return self.costs.report

    # --- the server's part -----------------------------------------------------------------------------

    def aggregate(self, num_updates: int, number: int | None, *, with_reports: bool) -> Steps:
        """Add updates to the mean."""
        report = self.costs.report
        flop = self.costs.mean_flop + (report.means_flop if report is not None and with_reports else 0.0)
        if flop * num_updates:
            yield self.clock.server_job(flop * num_updates, "aggregate", number)

    def staleness(self, attempt: Attempt) -> int:
        """Return how many versions the model has gone on since a client that has trained began."""
        assert attempt.work is not None
        return self.version - self.history.works[attempt.work].base

    def close(self, rule: Rule, arrived: Sequence[tuple[Attempt, float]], reports: Sequence[int] = ()) -> None:
        """Make the next version of the model of the updates that arrived, each with its scale."""
        self.version += 1
        arrivals = []
        for attempt, scale in arrived:
            work = arrived_work(attempt, f"training.{self.clock.stage}: the protocol")
            attempt.version = self.version
            arrivals.append(Arrival(work, scale))
        expected = self.selection.number(len(self.clients))
        step = Step(rule, tuple(arrivals), reports=tuple(reports), expected=expected)
        self.clock.history.add_step(step, self.clock.now_s)
        self.simulation.recorder.spill()

    def close_gossip(self, attempts: Sequence[Attempt], mixes: Sequence[Mix]) -> None:
        """Make the next version of the clients' own models."""
        self.version += 1
        for attempt in attempts:
            attempt.version = self.version
        self.clock.history.add_step(Step("gossip", mixes=tuple(mixes)), self.clock.now_s)
        self.simulation.recorder.spill()

    @property
    def history(self) -> History:
        """Return what has happened so far."""
        return self.clock.history
