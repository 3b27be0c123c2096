"""What the clock of a federated stage found out: who trained from which version, and what arrived in which order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Rule = Literal["average", "mix", "add", "gossip"]
"""How a step makes version k+1 of the model from version k, x, and the updates that arrived.

``average``: x + Σ p_i (y_i − b_i), where y_i is what client i trained, b_i the version it started from
and p_i its share of the arrived clients' samples; Σ p_i y_i where all started from x. ``mix``:
(1 − a) x + a y. ``add``: x + Σ a_i (y_i − b_i). ``gossip``: every client r has a model of its own,
y_r + Σ w_i (y_i − y_r).
"""


@dataclass(frozen=True)
class Work:
    """Local training of one client."""

    client: int
    counter: int
    """The client's draws (batches, views, noise) are functions of it; in a synchronous protocol the round."""
    base: int
    """Version of the model it starts from."""


@dataclass(frozen=True)
class Arrival:
    """An update that was taken into the model."""

    work: int
    """Position in ``History.works``."""
    scale: float = 1.0
    """Factor a of ``Rule``; with ``average`` a factor on the client's weight."""


@dataclass(frozen=True)
class Mix:
    """A client's model that went into a neighbour's."""

    sender: int
    receiver: int
    weight: float


@dataclass(frozen=True)
class Step:
    """From version k of the model to version k + 1."""

    rule: Rule
    arrivals: tuple[Arrival, ...] = ()
    """With a server: the updates taken in."""
    mixes: tuple[Mix, ...] = ()
    """Without one: the models that reached a neighbour."""
    expected: int = 0
    """With a server: how many updates were expected, which is what privacy divides by."""
    reports: tuple[int, ...] = ()
    """Clients whose report (FedSC's matrix) on version k reached the server before anybody trained from it."""


@dataclass
class Attempt:
    """One client's part of a round: what it moved, and how that ended. A row of the table ``rounds``."""

    client: int
    round: int
    """The round; where there are none, the client's how-manieth attempt."""
    t_start_s: float
    t_end_s: float
    bytes_down: int = 0
    """Bytes to the client, end to end; 0 for a client that is the server."""
    bytes_up: int = 0
    """Bytes from the client, end to end."""
    reason: str | None = None
    """Why its update doesn't count; None where it does."""
    work: int | None = None
    """What it computed, if it got so far."""
    version: int | None = None
    """Version of the model its update went into."""


@dataclass
class History:
    """A stage as the clock saw it. Values are a function of ``works`` and ``steps`` alone."""

    works: list[Work] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    t_version_s: list[float] = field(default_factory=list)
    """When each step was through: version k + 1 of the model was ready."""
    attempts: list[Attempt] = field(default_factory=list)
    peers: list[list[int]] | None = None
    """Stage 3: experts that each client may ask, its own among them; None: all."""

    def add_work(self, client: int, counter: int, base: int) -> int:
        """Add a piece of work; returns its position."""
        self.works.append(Work(client, counter, base))
        return len(self.works) - 1

    def add_step(self, step: Step, t_s: float) -> None:
        """Add a step that was through at ``t_s``."""
        self.steps.append(step)
        self.t_version_s.append(t_s)

    def settle(self) -> None:
        """Sort works by version and client, and steps' arrivals alike: when they ended has no part in anything."""
        order = sorted(range(len(self.works)), key=lambda i: (self.works[i].base, self.works[i].client))
        place = {old: new for new, old in enumerate(order)}
        self.works = [self.works[old] for old in order]
        for attempt in self.attempts:
            attempt.work = None if attempt.work is None else place[attempt.work]
        for i, step in enumerate(self.steps):
            arrivals = sorted((replace(a, work=place[a.work]) for a in step.arrivals), key=lambda a: a.work)
            self.steps[i] = replace(step, arrivals=tuple(arrivals))

    def content(self) -> dict[str, Any]:
        """Return what values depend on, as JSON values: no time is in it."""
        return {
            "works": [[w.client, w.counter, w.base] for w in self.works],
            "steps": [
                [
                    s.rule,
                    [[a.work, a.scale] for a in s.arrivals],
                    [[m.sender, m.receiver, m.weight] for m in s.mixes],
                    list(s.reports),
                    s.expected,
                ]
                for s in self.steps
            ],
            "peers": self.peers,
        }

    def works_from(self) -> list[list[int]]:
        """Return the works that start from each version, in the order they were begun.

        Works of the newest version, where the run of rounds ended early, count for nothing and are left out.
        """
        cohorts: list[list[int]] = [[] for _ in self.steps]
        for position, work in enumerate(self.works):
            if work.base < len(cohorts):
                cohorts[work.base].append(position)
        return cohorts

    def staleness(self, attempt: Attempt) -> int | None:
        """Return how many versions the model had gone on when an update was taken in."""
        if attempt.version is None or attempt.work is None:
            return None
        return attempt.version - 1 - self.works[attempt.work].base
