"""Stage 3: the gate, of a shared and a local part, trained over fixed experts (FedGate).

The published description (arXiv 2511.01743) says that FedGate synchronises the gate's shared part and
keeps the local part. Our interpretation of the rest: the two parts' scores add up; the loss is the
mixture's own negative log-likelihood; a client needs the outputs of all experts for its samples, and
gets them by fetching the experts once or by sending features, each charged to the links.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count, NonNegative
from nmoe_sim.scenario.spec import Spec
from nmoe_sim.training.extraction import curve
from nmoe_sim.training.learning import Learning, batch_plans, checked_values, evaluated_rounds, settings_of
from nmoe_sim.training.rounds import Round, StageClock, Steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State

STAGE = "gate"


class FedGate(Spec):
    """Partially synchronised gates; ``synchronise`` also gives the two baselines."""

    kind: ClassVar[str] = "fedgate"

    rounds: Count = 20
    """Rounds of local training and averaging."""
    synchronise: Literal["shared", "all", "none"] = "shared"
    """Parts averaged in a round: ``shared`` is FedGate, ``all`` FedAvg on the whole gate, ``none`` local gates."""
    exchange: Literal["experts", "outputs"] = "experts"
    """How clients get the experts' outputs for their samples: all experts once, or features out and outputs back."""
    noise_std: NonNegative = 0.5
    """Noise on the scores in training (noisy top-k, Shazeer et al. 2017)."""
    top_k: Count | None = None
    """Experts in the mixture the gate is trained on; null: ``model.top_k``, but two where that is one, since the
    weight of a single expert is 1 and teaches nothing."""
    optimizer: Optimizer = Optimizer(lr=0.1)
    """Local training in each round."""
    evaluate_every: Count = 5
    """Rounds between two points of the learning curve."""

    def mixture_size(self, top_k: int, num_experts: int) -> int:
        """Return how many experts a training sample's mixture has, given ``model.top_k``."""
        return min(num_experts, self.top_k or max(2, top_k))

    def experts_held(self, num_experts: int) -> int:
        """Return how many experts a client holds at a time in this stage."""
        return num_experts if self.exchange == "experts" else 1

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import average_flop, num_elements, tensor_bytes

        clock = learning.clock(STAGE)
        synchronised = self._synchronised(learning.gate.state_dict())
        moved_bytes, num_values = tensor_bytes(synchronised), num_elements(synchronised)
        sample_flop = self._step_flop(learning)
        yield from self._exchange(learning, clock)

        def local_training(client: int) -> Steps:
            if moved_bytes:
                yield clock.down(client, moved_bytes, "model_down")
            num_samples = learning.data.num_train[client] * self.optimizer.epochs
            yield clock.job(client, sample_flop * num_samples, "local_train")
            if moved_bytes:
                yield clock.up(client, moved_bytes, "model_up")

        for _ in range(self.rounds):
            clock.begin_round()
            yield clock.each(local_training)
            if moved_bytes:
                yield clock.server_job(average_flop(num_values, len(learning.clients)), "aggregate")
            clock.end_round()
        if moved_bytes:
            yield clock.broadcast(moved_bytes, "model_down")
        return clock.rounds

    def _synchronised(self, state: State) -> State:
        if self.synchronise == "none":
            return {}
        return {name: t for name, t in state.items() if self.synchronise == "all" or name.startswith("shared.")}

    def _exchange(self, learning: Learning, clock: StageClock) -> Steps:
        """Get every client the experts' outputs for its samples."""
        costs, num_train = learning.costs, learning.data.num_train
        others = len(learning.clients) - 1

        def upload(client: int) -> Steps:
            yield clock.up(client, costs.expert_bytes, "expert")

        def fetch(client: int) -> Steps:
            yield clock.down(client, others * costs.expert_bytes, "expert")
            yield clock.job(client, costs.expert_flop * num_train[client] * (others + 1), "expert")

        def ask(client: int) -> Steps:
            env = clock.simulation.env
            yield env.all_of([env.process(ask_one(client, owner)) for owner in range(others + 1)])

        def ask_one(client: int, owner: int) -> Steps:
            samples = num_train[client]
            yield clock.across(client, owner, samples * costs.features_bytes, "features")
            yield clock.job(owner, costs.expert_flop * samples, "expert")
            yield clock.across(owner, client, samples * costs.output_bytes, "output")

        if self.exchange == "outputs":
            yield clock.each(ask)
        elif others:
            yield clock.each(upload)
            yield clock.each(fetch)
        else:
            yield clock.job(0, costs.expert_flop * num_train[0], "expert")

    def _step_flop(self, learning: Learning) -> int:
        """Return the FLOP of training on one sample."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.losses import mixture_loss

        model = learning.scenario.model
        top_k = self.mixture_size(model.top_k, len(learning.clients))
        h, y, outputs = learning.train_h[0][:1], learning.data.train_y[0][:1], learning.train_outputs[0][:1]
        return training_step_flop(
            learning.gate,
            lambda gate, h, o, y: mixture_loss(gate(h), o, y, top_k=top_k, how=model.combine).mean(),
            h,
            outputs,
            y,
        )

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cohort import unstack

        model = learning.scenario.model
        settings = {**settings_of(self), "top_k": model.top_k, "combine": model.combine}
        values = learning.store.compute(
            STAGE, settings, lambda: checked_values(learning, STAGE, lambda: self.train(learning))
        )
        device = learning.data.test_x.device
        names = learning.gate.state_dict()
        learning.gates = unstack({name: values[name].to(device) for name in names})
        learning.record_rounds(STAGE, rounds, values["losses"].numpy().astype(np.float64))
        points = {int(r): float(v) for r, v in values["curve.accuracy_nmoe"].tolist()}
        learning.record_curve(STAGE, rounds, "accuracy_nmoe", points)

    def train(self, learning: Learning) -> dict[str, Tensor]:
        """Compute all rounds; returns stacked gates, losses and the learning curve."""
        import torch

        from nmoe_sim.nmoe.cohort import average, stack, unstack
        from nmoe_sim.nmoe.losses import masked_mean, mixture_loss
        from nmoe_sim.nmoe.randomness import torch_generator
        from nmoe_sim.nmoe.stacked import HeadBatch, train_heads

        data, model, streams = learning.data, learning.scenario.model, learning.simulation.streams
        top_k = self.mixture_size(model.top_k, len(learning.clients))
        labels, outputs = torch.cat(data.train_y), torch.cat(learning.train_outputs)
        stacked = stack([learning.gate.state_dict()] * len(learning.clients))
        synchronised = list(self._synchronised(learning.gate.state_dict()))
        evaluated = set(evaluated_rounds(self.rounds, self.evaluate_every))
        losses, points = [], {}

        def noise(batch: HeadBatch, like_ABN: Tensor) -> Tensor:
            """Draw each client's noise from a stream of its own, whoever else is in the batch."""
            noise_ABN = torch.zeros(like_ABN.shape, dtype=like_ABN.dtype)
            widths = batch.mask_AB.sum(dim=1).tolist()
            for i, (client, width) in enumerate(zip(batch.clients_A.tolist(), widths, strict=True)):
                generator = torch_generator(streams, "gate_noise", client, number, batch.step)
                noise_ABN[i, :width] = torch.randn((width, like_ABN.shape[-1]), generator=generator)
            return noise_ABN.to(like_ABN.device)

        def loss(out_ABN: Tensor, batch: HeadBatch) -> Tensor:
            values_AB = mixture_loss(
                out_ABN + self.noise_std * noise(batch, out_ABN),
                outputs[batch.rows_AB],
                labels[batch.rows_AB],
                top_k=top_k,
                how=model.combine,
            )
            return masked_mean(values_AB, batch.mask_AB)

        with learning.progress("stage 3: gate (FedGate)", self.rounds) as advance:
            for number in range(self.rounds):
                stacked, loss_N = train_heads(
                    learning.gate,
                    stacked,
                    learning.train_h,
                    batch_plans(learning, STAGE, self.optimizer, number),
                    loss,
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
