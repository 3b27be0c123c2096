"""Rounds with a server: all are waited for, or only until a deadline, or only the first so many."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from simpy import Process
from simpy.events import Event

from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.training.federation.federation import UNFINISHED, Federation, Running
from nmoe_sim.training.federation.history import Attempt
from nmoe_sim.training.federation.protocols.base import ProtocolSpec
from nmoe_sim.training.federation.selection import rounded_up

if TYPE_CHECKING:
    from nmoe_sim.training.federation.selection import Selection


class Synchronous(ProtocolSpec):
    """All selected clients are waited for; who goes down or loses a payload is out of the round.

    With FedSC the matrices on the round's model are exchanged first, then the clients train.
    """

    kind: ClassVar[str] = "synchronous"

    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """See ``ProtocolSpec``."""
        clock, env = federation.clock, federation.simulation.env
        for number in range(federation.rounds):
            yield from federation.await_candidate()
            attempts = federation.open_round(number, federation.select(number))
            reports: list[int] = []
            steps = federation.part
            if federation.costs.report is not None:
                told = [clock.start(attempt, federation.report(attempt)) for attempt in attempts]
                yield env.all_of(told)
                attempts = [a for a, process in zip(attempts, told, strict=True) if process.value]
                reports = [attempt.client for attempt in attempts]
                flop = federation.costs.report.means_flop * len(attempts)
                if flop:
                    yield clock.server_job(flop, "aggregate", number)
                steps = federation.train_after_report
            trained = [clock.start(attempt, steps(attempt)) for attempt in attempts]
            yield env.all_of(trained)
            arrived = [a for a, process in zip(attempts, trained, strict=True) if process.value]
            yield from federation.aggregate(len(arrived), number, with_reports=False)
            federation.close("average", [(attempt, 1.0) for attempt in arrived], reports)


class _Impatient(ProtocolSpec):
    """Rounds that end before everybody is through. With FedSC a matrix travels with the update."""

    @abstractmethod
    def asked(self, selection: Selection, num_clients: int) -> int | None:
        """Return how many clients begin a round; None: as many as the selection takes."""

    @abstractmethod
    def wait(
        self, federation: Federation, processes: Sequence[Process], start_s: float
    ) -> Generator[Event, None, None]:
        """Wait until the round is over."""

    def taken(self, federation: Federation, arrived: list[Attempt]) -> list[Attempt]:
        """Return the updates that count, of those that arrived, in the order in which they did."""
        return arrived

    @property
    def keeps_late(self) -> bool:
        """Whether clients that aren't through go on."""
        return False

    @property
    def longest_s(self) -> float:
        """How long a round lasts at most; a device may choose its clock by it (``dvfs: deadline``)."""
        return math.inf

    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """See ``ProtocolSpec``."""
        clock, running = federation.clock, Running()
        asked = self.asked(federation.selection, len(federation.clients))
        for number in range(federation.rounds):
            yield from federation.await_candidate()
            start_s = clock.now_s
            federation.deadline_s = start_s + self.longest_s
            for attempt in federation.open_round(number, federation.select(number, asked)):
                federation.busy.add(attempt.client)
                running[attempt.client] = attempt, clock.start(attempt, federation.part(attempt))
            yield from self.wait(federation, [process for _, process in running.values()], start_s)
            arrived = [attempt for attempt, process in running.values() if process.triggered and process.value]
            arrived.sort(key=lambda attempt: (attempt.t_end_s, attempt.client))
            taken = self.taken(federation, arrived)
            for client, (attempt, process) in list(running.items()):
                if process.triggered or not self.keeps_late:
                    if attempt not in taken:
                        federation.stop(attempt, process, self.kind)
                    federation.busy.discard(client)
                    del running[client]
            yield from federation.aggregate(len(taken), number, with_reports=True)
            federation.close("average", [(attempt, 1.0) for attempt in taken])
        for attempt, process in running.values():
            federation.stop(attempt, process, UNFINISHED)


class Deadline(_Impatient):
    """A round ends at the deadline, or when all its clients are through.

    A late update is dropped, or kept: its client goes on while the others begin the next round,
    and it counts in the round in which it arrives, as a change of the version that it started from.

    A client that is dropped finds out when the job or payload is through that it is at; until then it is ``busy``.
    """

    kind: ClassVar[str] = "deadline"

    deadline_s: Positive
    """Time from the round's start."""
    late: Literal["drop", "keep"] = "drop"
    """What becomes of clients that aren't through: given up, or kept for a later round."""

    @property
    def keeps_late(self) -> bool:
        """Whether clients that aren't through go on."""
        return self.late == "keep"

    @property
    def longest_s(self) -> float:
        """Return the deadline."""
        return self.deadline_s

    def asked(self, selection: Selection, num_clients: int) -> int | None:
        """See ``_Impatient``."""
        return None

    def wait(
        self, federation: Federation, processes: Sequence[Process], start_s: float
    ) -> Generator[Event, None, None]:
        """See ``_Impatient``."""
        env = federation.simulation.env
        yield env.any_of([env.all_of(processes), env.timeout(start_s + self.deadline_s - env.now)])


class OverSelection(_Impatient):
    """More clients begin than are needed; the round ends with the first so many updates (Bonawitz et al. 2019).

    Needed are as many as the selection's ``share`` says; of updates that arrive at the same time those of the lower
    numbers count. With fewer clients left than needed, all are waited for.
    """

    kind: ClassVar[str] = "over_selection"

    spare: Positive = 0.3
    """Further clients that begin, as a share of those needed; rounded up."""

    def check(self, selection: Selection) -> None:
        """Refuse a selection that leaves no clients to spare, or whose number of clients is a matter of chance."""
        if selection.sampling_rate(1) < 1.0:
            raise ValueError(
                f"over_selection asks for a number of clients, and selection '{selection.kind}' draws each by itself; "
                "take selection random"
            )
        if selection.share == 1.0:
            raise ValueError(
                "over_selection needs clients to spare, and selection.share 1 takes all; lower selection.share"
            )

    def asked(self, selection: Selection, num_clients: int) -> int | None:
        """See ``_Impatient``."""
        return min(num_clients, rounded_up((1 + self.spare) * selection.number(num_clients)))

    def taken(self, federation: Federation, arrived: list[Attempt]) -> list[Attempt]:
        """See ``_Impatient``: also of those that arrive at the same time only so many."""
        return arrived[: federation.selection.number(len(federation.clients))]

    def wait(
        self, federation: Federation, processes: Sequence[Process], start_s: float
    ) -> Generator[Event, None, None]:
        """See ``_Impatient``."""
        needed = federation.selection.number(len(federation.clients))
        while waiting := [process for process in processes if not process.triggered]:
            if sum(bool(process.value) for process in processes if process.triggered) >= needed:
                return
            yield federation.simulation.env.any_of(waiting)
