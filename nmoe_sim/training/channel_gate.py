"""Stage 3 for a gate that looks at the channel: first perfect channels, then channels that are drawn.

The published description (arXiv 2504.00819) trains in two stages, the second on simulated channels with a regulariser
against collapse. Our interpretation of the rest: rounds are those of FedGate; SNRs are uniform in dB over the gate's
range, independent for each sample and expert, perfect to the client's own; the regulariser is the Switch
Transformer's load-balance loss; b's weights are part of what is synchronised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import numpy as np
from pydantic import Field, model_validator

from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.training.extraction import curve
from nmoe_sim.training.fedgate import STAGE, FedGate
from nmoe_sim.training.learning import Learning, batch_plans, evaluated_rounds

if TYPE_CHECKING:
    from torch import Tensor

    from nmoe_sim.nmoe.modules import Gate


class ChannelAware(FedGate):
    """FedGate on channels: the gate learns which experts are worth asking at which SNR.

    After ``perfect_rounds`` each step draws the SNR of every sample's way to every expert, and the experts answer
    features with that noise, as analog transport brings them. Clients compute these answers themselves, so
    they need the experts. Their FLOP are charged in equal parts to all rounds.
    """

    kind: ClassVar[str] = "channel_aware"

    perfect_rounds: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """The first so many of ``rounds`` are on perfect channels."""
    load_balance: NonNegative = 0.01
    """Coefficient of the load-balance loss in the rounds after; 0.01 is that of Switch Transformers."""

    @model_validator(mode="after")
    def _rounds_on_channels(self) -> ChannelAware:
        if self.perfect_rounds >= self.rounds:
            raise ValueError(f"perfect_rounds {self.perfect_rounds} leaves none of {self.rounds} rounds; lower it")
        if self.exchange != "experts":
            raise ValueError("noisy features need the experts at the clients; set exchange to 'experts'")
        return self

    def _step_flop(self, learning: Learning) -> int:
        """Return the FLOP of training on one sample, mean over rounds."""
        answers_flop = learning.costs.expert_flop * len(learning.clients)
        return super()._step_flop(learning) + round(answers_flop * (1 - self.perfect_rounds / self.rounds))

    def train(self, learning: Learning) -> dict[str, Tensor]:
        """Compute all rounds; returns stacked gates, losses and the learning curve, which is on perfect channels."""
        import torch

        from nmoe_sim.nmoe.channel_gate import ChannelHead, ChannelLoss, Draws
        from nmoe_sim.nmoe.cohort import average, stack, unstack
        from nmoe_sim.nmoe.stacked import train_heads

        data, model, num_clients = learning.data, learning.scenario.model, len(learning.clients)
        stacked = stack([learning.gate.state_dict()] * num_clients)
        synchronised = list(self._synchronised(learning.gate.state_dict()))
        evaluated = set(evaluated_rounds(self.rounds, self.evaluate_every))
        losses, points = [], {}
        loss = ChannelLoss(
            model.gate,
            Draws(learning.simulation.streams, range(num_clients), [0] * num_clients),
            learning.expert,
            stack(learning.experts),
            torch.cat(learning.train_h),
            torch.cat(data.train_y),
            torch.cat(learning.train_outputs),
            top_k=self.mixture_size(model.top_k, num_clients),
            how=model.combine,
            noise_std=self.noise_std,
            load_balance=self.load_balance,
            on_channels=False,
        )
        with learning.progress("stage 3: gate (channel-aware)", self.rounds) as advance:
            for number in range(self.rounds):
                draws = replace(loss.draws, counters=[number] * num_clients)
                stacked, loss_N = train_heads(
                    ChannelHead(cast("Gate", learning.gate)),
                    stacked,
                    learning.train_h,
                    batch_plans(learning, STAGE, self.optimizer, number),
                    replace(loss, draws=draws, on_channels=number >= self.perfect_rounds),
                    self.optimizer,
                    lr_scale=self.optimizer.lr_scale(number, self.rounds),
                )
                if synchronised:
                    mean = average(unstack(stacked), learning.weights, synchronised)
                    stacked.update({name: tensor.expand_as(stacked[name]).clone() for name, tensor in mean.items()})
                losses.append(loss_N)
                if number in evaluated:
                    points[number] = learning.nmoe_accuracy(unstack(stacked))
                advance()
        return {**stacked, "losses": torch.from_numpy(np.stack(losses)), "curve.accuracy_nmoe": curve(points)}
