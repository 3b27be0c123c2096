"""Family ``routing``: which experts a request asks.

A policy is a frozen spec with one method, ``route``. It sees the request's gate scores and a view of
the network that may be old; ties go to the lowest expert number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.errors import RunError
from nmoe_sim.inference.view import NetworkView
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.spec import Spec


@dataclass(frozen=True, slots=True)
class Query:
    """What a policy knows of a request."""

    request_id: int
    client: int
    device: str
    """The client's device."""
    own_expert: int
    """Expert the client trained."""
    scores: NDArray[np.float32]
    """Gate scores of the experts [N]; -inf for one that the client may not ask."""
    top_k: int
    """``model.top_k``."""
    streams: RandomStreams
    """For policies that draw."""


class RoutingPolicy(Protocol):
    """Chooses the experts a request asks."""

    @property
    def kind(self) -> str:
        """Name of the policy."""

    def route(self, query: Query, view: Callable[[], NetworkView]) -> Sequence[int]:
        """Return the experts to ask, without repeats, at least one.

        ``view()`` takes or reuses a snapshot; a policy that doesn't need one doesn't call it.
        """


def ask(policy: RoutingPolicy, query: Query, view: Callable[[], NetworkView]) -> list[int]:
    """Return a policy's answer as a checked list; it may be a plug-in's, and NumPy's.

    Raises
    ------
    RunError
        If the answer isn't different experts, at least one, that the client may ask.
    """
    answer, num_experts = policy.route(query, view), len(query.scores)
    try:
        experts = [index(expert) for expert in answer]
    except TypeError:
        experts = []
    if not experts or len(set(experts)) < len(experts) or min(experts) < 0 or max(experts) >= num_experts:
        raise RunError(
            f"routing policy '{policy.kind}' answered {answer!r}; "
            f"it must name different experts from 0 to {num_experts - 1}, at least one"
        )
    if barred := [expert for expert in experts if query.scores[expert] == -np.inf]:
        raise RunError(
            f"routing policy '{policy.kind}' asked expert {barred[0]}, which {query.device} may not, "
            "as its score of -inf tells; leave such experts out"
        )
    return experts


def _highest(scores: NDArray[np.float32] | NDArray[np.float64], k: int) -> list[int]:
    """Return the k experts of highest score; fewer, where fewer may be asked."""
    chosen: list[int] = np.argsort(-scores, kind="stable")[:k].tolist()
    return [expert for expert in chosen if scores[expert] != -np.inf]


class TopK(Spec):
    """The ``model.top_k`` experts of highest gate score; fewer, where the client may ask fewer."""

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
    """``model.top_k`` different experts, uniformly at random among those that the client may ask."""

    kind: ClassVar[str] = "random"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        draws = query.streams.uniform("routing", query.request_id, np.arange(len(query.scores)))
        return _highest(np.where(query.scores == -np.inf, -np.inf, draws), query.top_k)


class AllExperts(Spec):
    """Every expert that the client may ask."""

    kind: ClassVar[str] = "all"

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """See the protocol."""
        return _highest(query.scores, len(query.scores)) if -np.inf in query.scores else list(range(len(query.scores)))
