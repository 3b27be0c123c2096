"""Stage 1, self-supervised: federated spectral contrastive learning (FedSC).

Source: Jing et al., "FedSC: Provable Federated Self-supervised Learning with Spectral Contrastive
Objective over Non-i.i.d. Data", ICML 2024, arXiv 2405.03949.

Client j minimises −2 E⟨z1, z2⟩ + α tr(R̂R̂) + 2(1−α) tr(R̂ R̄_j), where z are clipped projector outputs of
two views, R̂ is the batch's correlation matrix and R̄_j the mean of the others' matrices, fixed within a
round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count, NonNegative
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.extraction import STAGE
from nmoe_sim.training.federation.federation import Report, RoundCosts
from nmoe_sim.training.federation.history import History, Work
from nmoe_sim.training.federation.learners import ModuleLearner, batch_plan
from nmoe_sim.training.learning import Learning
from nmoe_sim.training.spectral import Spectral

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.nmoe.augment import Augmentation
    from nmoe_sim.nmoe.cohort import Loss, State


class FedSC(Spectral):
    """FedAvg on the spectral contrastive loss, with correlation matrices exchanged every round.

    A round: the server sends the model; each client sends its correlation matrix; the server returns to
    each the mean of the others'; clients train and return the model; the server averages. A matrix
    is symmetric and travels as its upper triangle. Of a client that is away the last matrix counts.
    """

    kind: ClassVar[str] = "fedsc"
    title: ClassVar[str] = "FedSC"

    alpha: Literal["linear", "share", "published"] = "linear"
    """Weight of a client's own matrix in round r of T: from 1 in the first round to its share p_j of the data in the
    last, p_j throughout, or the authors' 1 − 0.8·r/T."""
    correlation_views: Literal["fresh", "step"] = "fresh"
    """Views R_j is computed from: fresh ones, or those of the first local step (the gradient is then exact)."""
    correlation_passes: Count = 1
    """Passes over the client's data, each with views of its own, that R_j is averaged over; the authors' 5."""
    correlation_noise_std: NonNegative = 0.0
    """Gaussian noise on each entry of R_j before it is sent; the authors' 0.00104."""
    correlation_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """δ that the metric ``epsilon_correlation`` is told for, where there is noise: the ε of one sample of the client
    that spent the most, from all the matrices it has sent; not of the models it sends beside them."""

    @model_validator(mode="after")
    def _step_views_are_whole(self) -> FedSC:
        if self.correlation_views == "step" and (self.optimizer.batch_size is not None or self.correlation_passes != 1):
            raise ValueError(
                "correlation_views 'step' needs all of a client's samples in the step: "
                "set optimizer.batch_size to null and correlation_passes to 1"
            )
        if self.privacy.kind != "none" and not self.correlation_noise_std:
            raise ValueError(
                f"privacy '{self.privacy.kind}' covers updates, and correlation matrices would travel as they are; "
                "set correlation_noise_std, or kind to spectral"
            )
        return self

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        from nmoe_sim.nmoe.accounting import check_library

        super().check(scenario, topology)
        if self.correlation_noise_std:
            check_library()

    def costs(self, learning: Learning, model: nn.Module) -> RoundCosts:
        """See ``ExtractorTraining``; with the matrices, which every client computes before it trains."""
        import torch

        from nmoe_sim.nmoe.cost import average_flop, count_flop, forward_flop
        from nmoe_sim.nmoe.spectral import correlation

        values = self.projector_dim * (self.projector_dim + 1) // 2
        z = torch.empty(1, self.projector_dim, device="meta")
        sample_flop = 2 * forward_flop(model, learning.data.train_x[0].shape[1:]) + count_flop(
            lambda: correlation(z, z)
        )
        report = Report(
            n_bytes=4 * values,
            flop=[sample_flop * self.correlation_passes * n for n in learning.data.num_train],
            mean_flop=average_flop(values, 1),
            kind="correlation",
        )
        return replace(super().costs(learning, model), report=report)

    def privacy_spent(self, learning: Learning, history: History, version: int) -> dict[str, float]:
        """See ``FederatedStage``; with what the matrices tell."""
        from nmoe_sim.nmoe.privacy import matrix_epsilon

        spent = super().privacy_spent(learning, history, version)
        if not self.correlation_noise_std:
            return spent
        told = Counter(client for step in history.steps[: version + 1] for client in step.reports)
        if not any(step.reports for step in history.steps):  # matrices travel with the updates
            told = Counter(work.client for work in history.works if work.base <= version)
        num_train, noise_std = learning.data.num_train, self.correlation_noise_std
        spent["epsilon_correlation"] = max(
            (
                matrix_epsilon(noise_std, self.mu, num_train[client], number, self.correlation_delta)
                for client, number in told.items()
            ),
            default=0.0,
        )
        return spent

    @property
    def report_multiplier(self) -> float:
        """See ``FederatedStage``."""
        from nmoe_sim.nmoe.privacy import matrix_multiplier

        return matrix_multiplier(self.correlation_noise_std, self.mu)

    def learner(self, learning: Learning, model: nn.Module) -> ModuleLearner:
        """See ``ExtractorTraining``."""

        def loss_of(works: Sequence[Work], known: Sequence[Mapping[str, Tensor]]) -> Loss:
            return self.loss_of(learning, works, known)

        return _Learner(learning, STAGE, self.optimizer, self.rounds, model, loss_of, self)

    def sharing(self, learning: Learning, work: Work, known: Mapping[str, Tensor]) -> tuple[float, Tensor | None]:
        """Return a client's α and R̄_j; one that has heard of nobody else's matrix trains on its own, α = 1."""
        from nmoe_sim.nmoe.spectral import others_mean

        others_PP = others_mean({int(k): r for k, r in known.items()}, learning.weights, work.client)
        if others_PP is None:
            return 1.0, None
        return self.own_weight(learning.weights[work.client], work.base), others_PP

    def own_weight(self, share: float, version: int) -> float:
        """Return α of a client with a share of the data, that trains from this version of the model, from 0."""
        if self.alpha == "published":
            return 1.0 - 0.8 * version / self.rounds
        if self.alpha == "share":
            return share
        return 1.0 - (1.0 - share) * version / max(1, self.rounds - 1)

    def correlation_matrix(
        self,
        model: nn.Module,
        x: Tensor,
        plan: Sequence[NDArray[np.int64]],
        client: int,
        counter: int,
        streams: RandomStreams,
        augmentation: Augmentation,
    ) -> Tensor:
        """Compute R_j of a model, with noise, as it arrives at the server.

        Parameters
        ----------
        model : nn.Module
            Extractor and projector at the state that R_j is of; run in evaluation mode.
        x : Tensor, shape (n_j, C, H, W)
            The client's images.
        plan : sequence of ndarray of int64
            Its batches in the local training that follows; used where ``correlation_views`` is ``step``.
        client, counter : int
            The draws are functions of them: of streams ``correlation_views`` (and pass) or ``views``, and
            ``correlation_noise``.
        streams : RandomStreams
        augmentation : Augmentation
            Law of the views: the data set's.

        Returns
        -------
        Tensor, shape (P, P)
            Symmetric.
        """
        import torch

        from nmoe_sim.nmoe.evaluate import features
        from nmoe_sim.nmoe.randomness import torch_generator
        from nmoe_sim.nmoe.spectral import (
            add_symmetric_noise,
            clip_rows,
            correlation,
            from_upper_triangle,
            upper_triangle,
        )

        matrices = []
        for number_pass in range(self.correlation_passes):
            if self.correlation_views == "step":
                generator, images = torch_generator(streams, "views", client, counter, 0), x[torch.from_numpy(plan[0])]
            else:
                generator, images = torch_generator(streams, "correlation_views", client, counter, number_pass), x
            views = [augmentation.apply(images, generator) for _ in range(2)]
            z1, z2 = (clip_rows(features(model, view), self.mu) for view in views)
            matrices.append(correlation(z1, z2))
        matrix = torch.stack(matrices).mean(dim=0)
        if self.correlation_noise_std:
            generator = torch_generator(streams, "correlation_noise", client, counter)
            matrix = add_symmetric_noise(matrix, self.correlation_noise_std, generator)
        return from_upper_triangle(upper_triangle(matrix))


@dataclass
class _Learner(ModuleLearner):
    """Local training with matrices as reports."""

    fedsc: FedSC
    reports = True

    def report(self, work: Work, state: State) -> Tensor:
        """Return the client's matrix of a model."""
        learning = self.learning
        self.model.load_state_dict(state)
        return self.fedsc.correlation_matrix(
            self.model,
            learning.data.train_x[work.client],
            batch_plan(learning, self.stage, self.optimizer, work.client, work.counter),
            work.client,
            work.counter,
            learning.simulation.streams,
            learning.scenario.data.augmentation,
        )
