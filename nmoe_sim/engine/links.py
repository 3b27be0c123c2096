"""Nodes, cables and links: what a topology is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NodeKind = Literal["device", "base_station"]
MediumName = Literal["uplink", "downlink", "sidelink", "wired"]


@dataclass(frozen=True, slots=True)
class Node:
    """A device or base station at a position in the plane; a device's is that at the start."""

    name: str
    kind: NodeKind
    x_m: float
    y_m: float
    azimuth_deg: float | None = None
    """Boresight of a sector's antenna, counterclockwise from east; None: it has none."""


@dataclass(frozen=True, slots=True)
class Wired:
    """A cable, the same in each direction."""

    capacity_bps: float
    delay_s: float = 0.0
    """From the last bit sent to the last bit received."""


@dataclass(frozen=True, slots=True)
class Link:
    """A directed link; ``index`` is its position in ``Topology.links``."""

    index: int
    src: Node
    dst: Node
    distance_m: float
    """At the start."""
    wired: Wired | None = None
    """None: radio."""

    @property
    def medium(self) -> MediumName:
        """What the link uses: a cable; or spectrum to a base station, from one, or between devices."""
        if self.wired is not None:
            return "wired"
        if self.dst.kind == "base_station":
            return "uplink"
        return "downlink" if self.src.kind == "base_station" else "sidelink"
