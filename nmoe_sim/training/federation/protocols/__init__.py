"""Family ``protocol``: the order in which clients train and the model moves on."""

from nmoe_sim.training.federation.protocols.asynchronous import Asynchronous, Buffered
from nmoe_sim.training.federation.protocols.gossip import Gossip
from nmoe_sim.training.federation.protocols.synchronous import Deadline, OverSelection, Synchronous

__all__ = ["Asynchronous", "Buffered", "Deadline", "Gossip", "OverSelection", "Synchronous"]
