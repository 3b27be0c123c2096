"""A partition of one's own: clients with much and clients with little data."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from nmoe_sim.nmoe.partition import Indices, PartitionSpec


class QuantitySkew(PartitionSpec):
    """Client i gets a share of the samples proportional to decay^i, at random over the classes."""

    kind: ClassVar[str] = "quantity_skew"

    decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Data of a client over that of the one before it; 1 is IID."""

    def assign(
        self, labels: ArrayLike, *, num_clients: int, num_classes: int, rng: np.random.Generator
    ) -> list[Indices]:
        """See the base class; each client gets at least one sample."""
        order = rng.permutation(len(np.asarray(labels)))
        shares = np.cumsum(self.decay ** np.arange(num_clients))
        spare = len(order) - num_clients
        ends = np.arange(1, num_clients) + np.floor(spare * shares[:-1] / shares[-1]).astype(np.int64)
        return [np.sort(part) for part in np.split(order, ends)]


FAMILIES = {"partition": [QuantitySkew]}
