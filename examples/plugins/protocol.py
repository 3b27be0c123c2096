"""A protocol of one's own: the server aggregates at fixed times whatever is there."""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar

from simpy.events import Event

from nmoe_sim.scenario.quantities import NonNegative, Positive
from nmoe_sim.training.federation.federation import Federation, Running
from nmoe_sim.training.federation.protocols.base import ProtocolSpec


class Periodic(ProtocolSpec):
    """Semi-synchronous: every ``period_s`` a version of the updates that have arrived, however old they are.

    Clients that aren't through go on; those that are begin again with the new version. Weights are by samples, times
    (1 + staleness)^−exponent.
    """

    kind: ClassVar[str] = "periodic"

    period_s: Positive = 0.1
    """Time from one version to the next, without aggregation."""
    staleness_exponent: NonNegative = 0.5
    """How much less old updates count."""

    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """Make the versions."""
        clock, running = federation.clock, Running()
        for number in range(federation.rounds):
            yield from federation.await_candidate()
            for attempt in federation.open_round(number, federation.select(number)):
                federation.busy.add(attempt.client)
                running[attempt.client] = attempt, clock.start(attempt, federation.part(attempt))
            yield federation.simulation.env.timeout(self.period_s)
            through = [client for client, (_, process) in running.items() if process.triggered]
            federation.busy.difference_update(through)
            ended = [running.pop(client) for client in through]
            arrived = [attempt for attempt, process in ended if process.value]
            yield from federation.aggregate(len(arrived), number, with_reports=True)
            scales = [(1.0 + federation.staleness(attempt)) ** -self.staleness_exponent for attempt in arrived]
            federation.close("average", list(zip(arrived, scales, strict=True)))
        for attempt, process in running.values():
            federation.stop(attempt, process, "unfinished")


FAMILIES = {"protocol": [Periodic]}
