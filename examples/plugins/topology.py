"""A topology of one's own: devices on a ring, no base station."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.engine.topologies import TopologySpec
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Positive


class Ring(TopologySpec):
    """Devices evenly on a circle, each linked to the two next to it."""

    kind: ClassVar[str] = "ring"

    radius_m: Positive = 60.0
    """Radius of the circle."""

    def build(self, streams: RandomStreams) -> Topology:
        """See the base class; nothing is random."""
        angle = 2 * np.pi * np.arange(self.num_devices) / self.num_devices
        nodes = self._nodes(self.radius_m * np.column_stack([np.cos(angle), np.sin(angle)]))
        pairs = {tuple(sorted((i, (i + 1) % len(nodes)))) for i in range(len(nodes) if len(nodes) > 1 else 0)}
        return Topology(nodes, [(nodes[i].name, nodes[j].name) for i, j in sorted(pairs)])


FAMILIES = {"topology": [Ring]}
