"""Without rounds: a client begins again when it is through, and the model moves on with what arrives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import ClassVar

from simpy.events import Event

from nmoe_sim.engine.network import MAX_ATTEMPTS
from nmoe_sim.errors import RunError
from nmoe_sim.scenario.quantities import Count, Fraction, NonNegative, Positive
from nmoe_sim.training.clock import AGAIN_S
from nmoe_sim.training.federation.federation import UNFINISHED, Federation, Running
from nmoe_sim.training.federation.history import Attempt, Rule
from nmoe_sim.training.federation.protocols.base import ProtocolSpec


class _WithoutRounds(ProtocolSpec):
    """The selection's number of clients are at work at a time; who is through is replaced at once.

    While the server aggregates it hands out no model. A client whose part failed isn't asked again for a while.
    """

    has_rounds: ClassVar[bool] = False
    rule: ClassVar[Rule]

    staleness_exponent: NonNegative = 0.5
    """An update that is s versions old counts (1 + s)^−exponent."""

    @abstractmethod
    def buffer_size(self) -> int:
        """Return how many updates make a version."""

    @abstractmethod
    def scale(self, staleness: int) -> float:
        """Return the factor on an update that is so many versions old."""

    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """See ``ProtocolSpec``.

        Raises
        ------
        RunError
            If clients fail again and again, and no update arrives; or nobody is chosen.
        """
        running, buffer, num_failed = Running(), list[Attempt](), 0
        while federation.version < federation.rounds:
            self._fill(federation, running)
            if not running and federation.is_over:
                break  # the versions made are what there is
            if not running and None in federation.reasons():
                raise RunError(
                    f"training.{federation.clock.stage}: selection '{federation.selection.kind}' chose nobody of those "
                    "who can begin, and nobody is at work; it must choose as many as it is asked for"
                )
            waiting: list[Event] = [process for _, process in running.values()]
            if len(running) < federation.selection.number(len(federation.clients)):
                waiting.append(federation.somebody_back())
            yield federation.simulation.env.any_of(waiting)
            ended = [(attempt, process) for attempt, process in running.values() if process.triggered]
            for attempt, process in sorted(ended, key=lambda pair: (pair[0].t_end_s, pair[0].client)):
                del running[attempt.client]
                federation.busy.discard(attempt.client)
                if process.value:
                    buffer.append(attempt)
                    num_failed = 0
                    continue
                federation.pause(attempt.client, AGAIN_S)
                num_failed += 1
                if num_failed == MAX_ATTEMPTS:
                    raise RunError(
                        f"training.{federation.clock.stage}: clients failed {MAX_ATTEMPTS:,} times in a row, the last "
                        f"for the reason {attempt.reason!r}; let devices be there for longer (faults), or radio.retry "
                        "try more often"
                    )
            while len(buffer) >= self.buffer_size() and federation.version < federation.rounds:
                taken, buffer = buffer[: self.buffer_size()], buffer[self.buffer_size() :]
                yield from federation.aggregate(len(taken), None, with_reports=True)
                scales = [self.scale(federation.staleness(attempt)) for attempt in taken]
                federation.close(self.rule, list(zip(taken, scales, strict=True)))
        for attempt in buffer:
            attempt.reason = UNFINISHED
        for attempt, process in running.values():
            federation.stop(attempt, process, UNFINISHED)

    def _fill(self, federation: Federation, running: Running) -> None:
        """Begin as many parts as there should be, as far as there are clients for them."""
        missing = federation.selection.number(len(federation.clients)) - len(running)
        # the number of parts, not the version, moves selections on: several may begin with one version
        for client in federation.select(len(federation.history.attempts), missing) if missing else ():
            federation.busy.add(client)
            attempt = federation.begin_turn(client)
            running[client] = attempt, federation.clock.start(attempt, federation.part(attempt))


class Asynchronous(_WithoutRounds):
    """Every update makes a version, w ← (1 − a) w + a w_i with a = mixing · (1 + s)^−exponent (FedAsync).

    Source: Xie, Koyejo and Gupta, "Asynchronous Federated Optimization", 2019, arXiv 1903.03934,
    polynomial staleness. ``rounds`` counts versions.
    """

    kind: ClassVar[str] = "asynchronous"
    rule: ClassVar[Rule] = "mix"

    mixing: Fraction = 0.6
    """Weight a of a fresh update."""

    def buffer_size(self) -> int:
        """One."""
        return 1

    def scale(self, staleness: int) -> float:
        """Return a."""
        return float(self.mixing * (1.0 + staleness) ** -self.staleness_exponent)


class Buffered(_WithoutRounds):
    """Every ``buffer`` updates make a version, w ← w + (η/K) Σ (1 + s_i)^−exponent (w_i − b_i) (FedBuff).

    Source: Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022,
    arXiv 2106.06639. ``rounds`` counts versions.
    """

    kind: ClassVar[str] = "buffered"
    rule: ClassVar[Rule] = "add"

    buffer: Count = 3
    """Updates K that make a version."""
    server_lr: Positive = 1.0
    """Server's learning rate η."""

    def buffer_size(self) -> int:
        """Return K."""
        return self.buffer

    def scale(self, staleness: int) -> float:
        """Return (η/K) (1 + s)^−exponent."""
        return float(self.server_lr / self.buffer * (1.0 + staleness) ** -self.staleness_exponent)
