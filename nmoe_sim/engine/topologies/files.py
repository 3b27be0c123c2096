"""Nodes and links from a file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ValidationInfo, field_validator

from nmoe_sim.engine.input_files import FromFile, read
from nmoe_sim.engine.topologies.graph import Graph
from nmoe_sim.engine.topologies.graphml import parse_graphml
from nmoe_sim.engine.topologies.node_link import parse_json
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Family


class FileTopology(FromFile):
    """Nodes and links that a GraphML or a JSON file (``.graphml``, ``.json``) says; nothing is drawn.

    A node has a name (GraphML: its ``id``; JSON: ``id`` or ``name``), a ``kind`` (``device`` or ``base_station``),
    ``x_m`` and ``y_m``, and a base station may have an ``azimuth_deg``, the direction its antenna looks,
    counterclockwise from east. An edge goes both ways and is listed once; one with ``capacity_bps``, and
    ``delay_s`` if it has one, is a cable, every other one is radio. Two base stations are linked by cable only. JSON
    is in node-link format: ``{"nodes": [{"id": "dev0", …}], "links": [{"source": "dev0", "target": "bs0"}]}``. Other
    attributes are left alone. GraphML with a document type or entities is refused.

    A device attaches to one of the base stations that it has radio edges to. Sidelinks are the file's, however far
    devices move.
    """

    kind: ClassVar[str] = "file"
    section: ClassVar[str] = "topology"
    max_bytes: ClassVar[int] = 20_000_000

    num_devices: Count | None = None
    """Devices; null: as many as the file has. Another number is an error."""
    base_station: Annotated[DeviceProfile, Family("device_profile", default="base_station", key="profile")]
    """A base station's compute, memory and powers; it aggregates, and it can host experts."""

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """See the base class."""
        _parse(file, content)

    @field_validator("num_devices")
    @classmethod
    def _count(cls, num_devices: int | None, info: ValidationInfo) -> int | None:
        if "file" not in info.data:  # its own fault is reported
            return num_devices
        file = info.data["file"]
        found = len(_parse(file, read(file, cls.max_bytes)).devices)
        if num_devices not in (None, found):
            raise ValueError(f"{file} has {found} devices, not {num_devices}; leave num_devices out or make them agree")
        return found

    @cached_property
    def _graph(self) -> Graph:
        return _parse(self.file, self.content())

    def device_names(self) -> list[str]:
        """Names of the devices, in the order of the file."""
        return [node.name for node in self._graph.devices]

    def build(self, streams: RandomStreams) -> Topology:
        """Return the topology of the file.

        Raises
        ------
        InputError
            If the file isn't what it was when the scenario was loaded.
        """
        graph = self._graph
        return Topology([*graph.devices, *graph.base_stations], graph.radio, graph.cables)


def _parse(file: str, content: bytes) -> Graph:
    match Path(file).suffix.lower():
        case ".graphml":
            return parse_graphml(file, content)
        case ".json":
            return parse_json(file, content)
    raise ValueError(f"{file}: it must be a .graphml or a .json file")
