"""A routing policy of one's own: good experts, but not those whose host is busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from nmoe_sim.inference.routing import Query
from nmoe_sim.inference.view import NetworkView
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec


class Hurried(Spec):
    """The ``model.top_k`` experts of highest gate score minus a price on waiting."""

    kind: ClassVar[str] = "hurried"

    price_per_s: NonNegative = 100.0
    """Score that a second of queue at the host costs."""

    def route(self, query: Query, view: Callable[[], NetworkView]) -> list[int]:
        """Return the experts to ask; ``view()`` is the network as it was a moment ago, never as it is."""
        network = view()
        waiting_s = np.array([network.backlog_s[host] for host in network.hosts])
        worth = query.scores - self.price_per_s * waiting_s
        chosen: list[int] = np.argsort(-worth, kind="stable")[: query.top_k].tolist()
        return chosen


FAMILIES = {"routing": [Hurried]}
