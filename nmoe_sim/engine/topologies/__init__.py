"""Family ``topology``: where the nodes stand, which of them can be linked, and where devices may move.

``base`` holds the base class for new ones; ``cells`` and ``multi_cell`` have base stations,
``device_to_device`` has none, ``files`` takes both from a file.
"""

from nmoe_sim.engine.topologies.base import TopologySpec
from nmoe_sim.engine.topologies.cells import Cell, Star
from nmoe_sim.engine.topologies.device_to_device import Disc, Grid, RandomGeometric
from nmoe_sim.engine.topologies.files import FileTopology
from nmoe_sim.engine.topologies.multi_cell import Backhaul, MultiCell

__all__ = [
    "Backhaul",
    "Cell",
    "Disc",
    "FileTopology",
    "Grid",
    "MultiCell",
    "RandomGeometric",
    "Star",
    "TopologySpec",
]
