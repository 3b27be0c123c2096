"""Stage 3 for a gate that looks at the channel: first perfect channels, then channels that are drawn.

The published description (arXiv 2504.00819) trains in two stages, the second on simulated channels with a regulariser
against collapse. Our interpretation of the rest: rounds are those of FedGate; SNRs are uniform in dB over the gate's
range, independent for each sample and expert, perfect to the client's own; the regulariser is the Switch
Transformer's load-balance loss; b's weights are part of what is synchronised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from pydantic import Field, model_validator

from nmoe_sim.engine.topology import Topology
from nmoe_sim.nmoe.channel_aware import ChannelAwareGate
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.fedgate import FedGate
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    from torch import nn

    from nmoe_sim.nmoe.modules import Gate
    from nmoe_sim.nmoe.stacked import StackedLoss


class ChannelAware(FedGate):
    """FedGate on channels: the gate learns which experts are worth asking at which SNR.

    After the perfect rounds each step draws the SNR of every sample's way to every expert, and the experts answer
    features with that noise, as analog transport brings them. Clients compute these answers themselves, so
    they need the experts. Their FLOP, of all experts, are charged in equal parts to all rounds.
    """

    kind: ClassVar[str] = "channel_aware"
    title: ClassVar[str] = "channel-aware"

    perfect_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the rounds, the first ones, that are on perfect channels."""
    load_balance: NonNegative = 0.01
    """Coefficient of the load-balance loss over the experts that a client may ask, like ``z_loss`` on drawn channels
    only; 0.01 is that of Switch Transformers."""

    @model_validator(mode="after")
    def _has_the_experts(self) -> ChannelAware:
        if self.exchange != "experts":
            raise ValueError("noisy features need the experts at the clients; set exchange to 'experts'")
        return self

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """Raise ValueError, with rule and remedy, where the gate doesn't look at the channel."""
        super().check(scenario, topology)
        if not isinstance(scenario.model.gate, ChannelAwareGate):
            raise ValueError(
                f"'{self.kind}' needs a gate that looks at the channel, and '{scenario.model.gate.kind}' doesn't; "
                "set model.gate.kind to channel_aware"
            )

    def _step_flop(self, learning: Learning) -> int:
        """Return the FLOP of training on one sample, mean over rounds."""
        answers_flop = learning.costs.expert_flop * len(learning.clients)
        return super()._step_flop(learning) + round(answers_flop * (1.0 - self.perfect_share))

    def _head(self, learning: Learning) -> nn.Module:
        from nmoe_sim.nmoe.channel_gate import ChannelHead

        return ChannelHead(cast("Gate", learning.gate))

    def _losses(self, learning: Learning) -> Callable[[Sequence[Work]], StackedLoss]:
        """Return what gives the loss of a cohort, whose clients start from one version."""
        import torch

        from nmoe_sim.nmoe.channel_gate import ChannelLoss, Draws
        from nmoe_sim.nmoe.cohort import stack
        from nmoe_sim.nmoe.losses import FixedExperts

        fixed, states = self._experts(learning), stack(learning.experts)
        top_k = self.mixture_size(learning.model.top_k, len(learning.clients))

        def loss_of(works: Sequence[Work]) -> ChannelLoss:
            clients = [work.client for work in works]
            return ChannelLoss(
                learning.model.gate,
                Draws(learning.simulation.streams, clients, [work.counter for work in works]),
                learning.expert,
                states,
                torch.cat([learning.train_h[client] for client in clients]),
                FixedExperts.cat([fixed[client] for client in clients]),
                top_k=top_k,
                noise_std=self.noise_std,
                available_WN=self.available(learning, works),
                regulariser=lambda scores_ABN, mask_AB: self.regularisers(scores_ABN, top_k, mask_AB),
                on_channels=works[0].base >= self.perfect_share * self.rounds,
            )

        return loss_of
