"""A feature skew of one's own: clients in different light."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.nmoe.datasets import Images
from nmoe_sim.nmoe.feature_skew import FeatureSkewSpec
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative


class Exposure(FeatureSkewSpec):
    """Client i's images are made brighter or darker by 2^s, s drawn once from a normal distribution, cut at 1."""

    kind: ClassVar[str] = "exposure"

    std_stops: NonNegative = 1.0
    """Standard deviation of s; one stop is a factor of two."""

    def _stops(self, client: int, streams: RandomStreams) -> float:
        return self.std_stops * float(streams.normal("exposure", client))

    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """See the base class."""
        return f"{self._stops(client, streams):+.1f} stops"

    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """See the base class."""
        return np.minimum(images * np.float32(2.0 ** self._stops(client, streams)), np.float32(1.0))


FAMILIES = {"feature_skew": [Exposure]}
