"""What a gate that looks at the channel adds to a request's scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.view import NetworkView
from nmoe_sim.nmoe.channel_aware import ChannelAwareGate

if TYPE_CHECKING:
    from torch import Tensor

    from nmoe_sim.nmoe.gates import GateSpec


@dataclass(frozen=True)
class ChannelScores:
    """b(SNR_1 … SNR_N) of every client, at the SNRs that the network's view tells: aged, and of mean gains."""

    clients: Sequence[str]
    """Device of each client."""
    parts: Sequence[Callable[[NDArray[np.float64]], NDArray[np.float32]]]
    """b of each client."""

    @classmethod
    def of(cls, gate: GateSpec, states: Sequence[Mapping[str, Tensor]], clients: Sequence[str]) -> ChannelScores | None:
        """Return those of trained gates; None if none were trained, or they don't look at the channel."""
        if not isinstance(gate, ChannelAwareGate) or not states:
            return None
        from nmoe_sim.nmoe.channel_gate import channel_scores

        return cls(clients, [channel_scores(gate, state) for state in states])

    def __call__(self, client: int, view: NetworkView) -> NDArray[np.float32]:
        """Return what is added to the client's score of each expert [N]; by the way from the client to its host."""
        device = self.clients[client]
        return self.parts[client](np.array([view.snr_db(device, host) for host in view.hosts]))
