"""Family ``routing``: which experts a request asks.

A policy is a frozen spec with one method, ``route``. It sees the request's gate scores and a view of
the network that may be old; ties go to the lowest expert number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.view import NetworkView
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.spec import Spec


@dataclass(frozen=True, slots=True)
class Query:
    """What a policy knows of a request."""

    request_id: int
    client: int
    own_expert: int
    """Expert the client trained."""
    scores: NDArray[np.float32]
    """Gate scores of the experts [N]."""
    top_k: int
    """``model.top_k``."""
    streams: RandomStreams
    """For policies that draw."""


class RoutingPolicy(Protocol):
    """Chooses the experts a request asks."""

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """Return the experts to ask, without repeats, at least one.

        ``view()`` takes or reuses a snapshot; a policy that doesn't need one doesn't call it.
        """


def _highest(scores: NDArray[np.float32] | NDArray[np.float64], k: int) -> list[int]:
    chosen: list[int] = np.argsort(-scores, kind="stable")[:k].tolist()
    return chosen


class TopK(Spec):
    """The ``model.top_k`` experts of highest gate score."""

    kind: ClassVar[str] = "top_k"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        return _highest(query.scores, query.top_k)


class LocalOnly(Spec):
    """The client's own expert, wherever it is hosted."""

    kind: ClassVar[str] = "local_only"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        return [query.own_expert]


class RandomExperts(Spec):
    """``model.top_k`` different experts, uniformly at random."""

    kind: ClassVar[str] = "random"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        draws = query.streams.uniform("routing", query.request_id, np.arange(len(query.scores)))
        return _highest(draws, query.top_k)


class AllExperts(Spec):
    """Every expert."""

    kind: ClassVar[str] = "all"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        return list(range(len(query.scores)))
