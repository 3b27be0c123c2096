"""What every round protocol provides."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

from simpy.events import Event

from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.training.federation.federation import Federation
    from nmoe_sim.training.federation.selection import Selection


class ProtocolSpec(Spec):
    """A round protocol; subclasses implement ``clock``."""

    has_rounds: ClassVar[bool] = True
    """Whether clients train side by side in rounds; SCAFFOLD's variates are defined for those."""
    has_server: ClassVar[bool] = True
    """Whether the model is kept by a server."""

    def check(self, selection: Selection) -> None:
        """Raise ValueError, with rule and remedy, where a selection doesn't fit."""

    def check_topology(self, topology: Topology) -> None:
        """Raise ValueError, with rule and remedy, where the devices' links, all that may ever be, don't suffice."""

    @abstractmethod
    def clock(self, federation: Federation) -> Generator[Event, None, None]:
        """Make ``federation.rounds`` versions of the model; what happens goes into its history."""
