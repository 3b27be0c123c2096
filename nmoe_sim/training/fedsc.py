"""Stage 1, self-supervised: federated spectral contrastive learning (FedSC).

Source: Jing et al., "FedSC: Provable Federated Self-supervised Learning with Spectral Contrastive
Objective over Non-i.i.d. Data", ICML 2024, arXiv 2405.03949.

Client j minimises −2 E⟨z1, z2⟩ + α tr(R̂R̂) + 2(1−α) tr(R̂ R̄_j), where z are clipped projector outputs of
two views, R̂ is the batch's correlation matrix and R̄_j the mean of the others' matrices, fixed within a
round. Left out here: differential privacy accounting, and clients that miss a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from nmoe_sim.nmoe.augment import Augmentation
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.widths import Widths
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count, NonNegative, Positive, Width
from nmoe_sim.training.extraction import STAGE, ExtractorTraining
from nmoe_sim.training.learning import Learning, batch_plans
from nmoe_sim.training.rounds import Round, Steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State, Trained


class FedSC(ExtractorTraining):
    """FedAvg on the spectral contrastive loss, with correlation matrices exchanged every round.

    A round: the server sends the model; each client sends its correlation matrix; the server returns to
    each the mean of the others'; clients train and return the model; the server averages. A matrix
    is symmetric and travels as its upper triangle.
    """

    kind: ClassVar[str] = "fedsc"

    optimizer: Optimizer = Optimizer(lr=0.03, schedule="cosine", weight_decay=5e-4, clip_norm=3.0)
    """Local training in each round."""
    projector_hidden: Widths = (128,)
    """Widths of the projector's hidden layers; the projector is thrown away afterwards."""
    projector_dim: Width = 128
    """Width P of the projector's output; a correlation matrix is P×P."""
    mu: Positive = 4.0
    """Projector outputs are clipped to norm √μ."""
    alpha: Literal["linear", "share"] = "linear"
    """Weight of a client's own matrix: from 1 to its data share p_j over the rounds, or p_j throughout."""
    correlation_views: Literal["fresh", "step"] = "fresh"
    """Views R_j is computed from: fresh ones, or those of the first local step (the gradient is then exact)."""
    correlation_passes: Count = 1
    """Passes over the client's data R_j is averaged over."""
    correlation_noise_std: NonNegative = 0.0
    """Gaussian noise on each entry of R_j before it is sent."""
    augmentation: Augmentation = Augmentation()
    """What makes a view of an image."""

    @model_validator(mode="after")
    def _step_views_are_whole(self) -> FedSC:
        if self.correlation_views == "step" and (self.optimizer.batch_size is not None or self.correlation_passes != 1):
            raise ValueError(
                "correlation_views 'step' needs all of a client's samples in the step: "
                "set optimizer.batch_size to null and correlation_passes to 1"
            )
        return self

    def add_on(self, learning: Learning) -> nn.Module:
        """Build the projector."""
        from nmoe_sim.nmoe.modules import mlp
        from nmoe_sim.nmoe.randomness import torch_generator

        widths = (learning.scenario.model.extractor.num_features, *self.projector_hidden, self.projector_dim)
        return mlp(widths, torch_generator(learning.simulation.streams, "init_projector"))

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """See ``Stage``."""
        import torch

        from nmoe_sim.nmoe.cost import (
            average_flop,
            count_flop,
            forward_flop,
            num_elements,
            tensor_bytes,
            training_step_flop,
        )
        from nmoe_sim.nmoe.losses import correlation, fedsc_loss

        model = self.model(learning)
        model_bytes, num_values = tensor_bytes(model.state_dict()), num_elements(model.state_dict())
        matrix_values = self.projector_dim * (self.projector_dim + 1) // 2
        matrix_bytes = 4 * matrix_values
        x, num_clients = learning.data.train_x[0][:1], len(learning.clients)
        step_flop = training_step_flop(model, lambda m, v: fedsc_loss(m(v), m(v)), x)
        z = torch.empty(1, self.projector_dim, device="meta")
        view_flop = 2 * forward_flop(model, x.shape[1:]) + count_flop(lambda: correlation(z, z))
        clock = learning.clock(STAGE)

        def correlate(client: int) -> Steps:
            yield clock.down(client, model_bytes, "model_down")
            num_samples = learning.data.num_train[client] * self.correlation_passes
            yield clock.job(client, view_flop * num_samples, "correlation")
            yield clock.up(client, matrix_bytes, "correlation")

        def local_training(client: int) -> Steps:
            yield clock.down(client, matrix_bytes, "correlation")
            num_samples = learning.data.num_train[client] * self.optimizer.epochs
            yield clock.job(client, step_flop * num_samples, "local_train")
            yield clock.up(client, model_bytes, "model_up")

        for _ in range(self.rounds):
            clock.begin_round()
            yield clock.each(correlate)
            yield clock.server_job(average_flop(matrix_values, 2 * num_clients), "aggregate")
            yield clock.each(local_training)
            yield clock.server_job(average_flop(num_values, num_clients), "aggregate")
            clock.end_round()
        yield clock.broadcast(learning.costs.extractor_bytes, "model_down")
        return clock.rounds

    def train(self, learning: Learning, model: nn.Module) -> dict[str, Tensor]:
        """Compute all rounds."""
        import torch

        from nmoe_sim.nmoe.cohort import average

        state, losses = model.state_dict(), []
        with learning.progress("stage 1: feature extractor (FedSC)", self.rounds) as advance:
            for number in range(self.rounds):
                trained = self.train_round(
                    model,
                    state,
                    learning.data.train_x,
                    batch_plans(learning, STAGE, self.optimizer, number),
                    number,
                    learning.simulation.streams,
                    workers=learning.workers,
                )
                state = average(trained.states, learning.weights)
                losses.append(trained.losses)
                advance()
        return {**state, "losses": torch.from_numpy(np.stack(losses))}

    def train_round(
        self,
        model: nn.Module,
        state: State,
        train_x: Sequence[Tensor],
        plans: Sequence[Sequence[NDArray[np.int64]]],
        number: int,
        streams: RandomStreams,
        *,
        workers: int = 1,
    ) -> Trained:
        """Compute one round's matrices and local training, before the server's average.

        Parameters
        ----------
        model : nn.Module
            Extractor and projector.
        state : State
            What the server sent.
        train_x : sequence of Tensor
            Images of each client, (n_j, C, H, W), of the state's dtype.
        plans : sequence of sequence of int arrays
            Batches of each client.
        number : int
            Round, from 0.
        streams : RandomStreams
            Streams ``views`` (client, round, step), ``correlation_views`` and ``correlation_noise``.
        workers : int
            Threads.
        """
        from nmoe_sim.nmoe.cohort import train_modules
        from nmoe_sim.nmoe.losses import clip_rows, fedsc_loss
        from nmoe_sim.nmoe.randomness import torch_generator

        model.load_state_dict(state)
        shares = np.array([len(x) for x in train_x], dtype=np.float64)
        shares /= shares.sum()
        matrices = [self._correlation(model, x, plans[j], j, number, streams) for j, x in enumerate(train_x)]
        others = others_mean(matrices, shares.tolist())

        def loss(module: nn.Module, client: int, index: Tensor, step: int) -> Tensor:
            generator = torch_generator(streams, "views", client, number, step)
            views = [self.augmentation.apply(train_x[client][index], generator) for _ in range(2)]
            z1, z2 = (clip_rows(module(view), self.mu) for view in views)
            alpha = self._alpha(float(shares[client]), number)
            return fedsc_loss(z1, z2, alpha=alpha, others_PP=others[client])

        scale = self.optimizer.lr_scale(number, self.rounds)
        return train_modules(
            model, [state] * len(train_x), plans, loss, self.optimizer, lr_scale=scale, workers=workers
        )

    def _alpha(self, share: float, number: int) -> float:
        if self.alpha == "share" or share == 1.0:
            return share
        return 1.0 - (1.0 - share) * number / max(1, self.rounds - 1)

    def _correlation(
        self,
        model: nn.Module,
        x: Tensor,
        plan: Sequence[NDArray[np.int64]],
        client: int,
        number: int,
        streams: RandomStreams,
    ) -> Tensor:
        """Compute R_j at the round's start, with noise, as it arrives at the server."""
        import torch

        from nmoe_sim.nmoe.evaluate import features
        from nmoe_sim.nmoe.losses import add_symmetric_noise, clip_rows, correlation
        from nmoe_sim.nmoe.randomness import torch_generator

        matrices = []
        for number_pass in range(self.correlation_passes):
            if self.correlation_views == "step":
                generator, images = torch_generator(streams, "views", client, number, 0), x[torch.from_numpy(plan[0])]
            else:
                generator, images = torch_generator(streams, "correlation_views", client, number, number_pass), x
            z1, z2 = (clip_rows(features(model, self.augmentation.apply(images, generator)), self.mu) for _ in range(2))
            matrices.append(correlation(z1, z2))
        matrix = torch.stack(matrices).mean(dim=0)
        if self.correlation_noise_std:
            generator = torch_generator(streams, "correlation_noise", client, number)
            matrix = add_symmetric_noise(matrix, self.correlation_noise_std, generator)
        return torch.triu(matrix) + torch.triu(matrix, 1).T  # what the upper triangle on the wire holds


def others_mean(matrices: Sequence[Tensor], shares: Sequence[float]) -> list[Tensor | None]:
    """Return R̄_j = Σ_{k≠j} p_k R_k / (1 − p_j) for every client; None for a client without others."""
    import torch

    weighted = torch.stack([p * r for p, r in zip(shares, matrices, strict=True)])
    means: list[Tensor | None] = []
    for j, share in enumerate(shares):
        rest = torch.cat([weighted[:j], weighted[j + 1 :]])
        means.append(rest.sum(dim=0) / (1.0 - share) if len(rest) else None)
    return means
