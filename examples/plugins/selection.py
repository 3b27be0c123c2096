"""A selection of one's own: who has more data is chosen more often."""

from __future__ import annotations

import math
from typing import ClassVar

from nmoe_sim.scenario.quantities import Fraction
from nmoe_sim.training.federation.selection import Candidates, Selection


class BySize(Selection):
    """At random without replacement, with chances by numbers of training samples.

    The clients with the largest u^(1/n) for uniform u and n samples are what drawing one after the other gives
    (Efraimidis and Spirakis 2006).
    """

    kind: ClassVar[str] = "by_size"

    share: Fraction = 0.4
    """Share of all clients that take part at a time, rounded up."""

    def rank(self, candidates: Candidates) -> list[int]:
        """Return the candidates, best first."""
        draws, sizes = candidates.draw("by_size"), candidates.num_samples
        return sorted(candidates.clients, key=lambda client: -math.log(draws[client] or 1e-300) / max(1, sizes[client]))


FAMILIES = {"selection": [BySize]}
