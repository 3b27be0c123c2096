"""Stage 1, self-supervised and without exchange: FedAvg on each client's own spectral contrastive loss.

Client j minimises −2 E⟨z1, z2⟩ + ‖R̂‖²_F, where z are clipped projector outputs of two views and R̂ is the
batch's correlation matrix. It is the ablation of FedSC, the paper's "FedAvg": nothing of other clients' data
reaches a client but through the model.

Source: Jing et al., "FedSC: Provable Federated Self-supervised Learning with Spectral Contrastive
Objective over Non-i.i.d. Data", ICML 2024, arXiv 2405.03949.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.widths import Widths
from nmoe_sim.scenario.quantities import Positive, Width
from nmoe_sim.training.extraction import STAGE, ExtractorTraining, module_costs
from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.learners import ModuleLearner
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nmoe_sim.nmoe.augment import Augmentation
    from nmoe_sim.nmoe.cohort import Loss


class Spectral(ExtractorTraining):
    """FedAvg on the local spectral contrastive loss; labels aren't used, and no matrices travel."""

    kind: ClassVar[str] = "spectral"
    title: ClassVar[str] = "local spectral loss"

    optimizer: Optimizer = Optimizer(lr=0.03, schedule="cosine", weight_decay=5e-4, clip_norm=3.0)
    """Local training in each round."""
    projector_hidden: Widths = (128,)
    """Widths of the projector's hidden layers; the projector is thrown away afterwards."""
    projector_dim: Width = 128
    """Width P of the projector's output; a correlation matrix is P×P."""
    mu: Positive = 4.0
    """Projector outputs are clipped to norm √μ."""

    def add_on(self, learning: Learning) -> nn.Module:
        """Build the projector."""
        from nmoe_sim.nmoe.modules import mlp
        from nmoe_sim.nmoe.randomness import torch_generator

        widths = (learning.scenario.model.extractor.num_features, *self.projector_hidden, self.projector_dim)
        return mlp(widths, torch_generator(learning.simulation.streams, "init_projector"))

    def costs(self, learning: Learning, model: nn.Module) -> RoundCosts:
        """See ``ExtractorTraining``; views cost nothing, as all that is elementwise or an interpolation."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.spectral import fedsc_loss

        sample_flop = training_step_flop(model, lambda m, x: fedsc_loss(m(x), m(x)), learning.data.train_x[0][:1])
        return module_costs(self, learning, model, self.synchronised(model), sample_flop)

    def learner(self, learning: Learning, model: nn.Module) -> ModuleLearner:
        """See ``ExtractorTraining``."""

        def loss_of(works: Sequence[Work], known: Sequence[Mapping[str, Tensor]]) -> Loss:
            return self.loss_of(learning, works, known)

        return ModuleLearner(learning, STAGE, self.optimizer, self.rounds, model, loss_of)

    def loss_of(self, learning: Learning, works: Sequence[Work], known: Sequence[Mapping[str, Tensor]]) -> Loss:
        """Return the loss of a cohort's local training, as ``ModuleLearner`` wants it."""
        from nmoe_sim.nmoe.randomness import torch_generator

        shared = [self.sharing(learning, work, reports) for work, reports in zip(works, known, strict=True)]

        def loss(module: nn.Module, position: int, index: Tensor, step: int) -> Tensor:
            work, (alpha, others_PP) = works[position], shared[position]
            generator = torch_generator(learning.simulation.streams, "views", work.client, work.counter, step)
            images = learning.data.train_x[work.client][index]
            augmentation = learning.scenario.data.augmentation
            return self.loss(module, images, augmentation, generator, alpha=alpha, others_PP=others_PP)

        return loss

    def sharing(self, learning: Learning, work: Work, known: Mapping[str, Tensor]) -> tuple[float, Tensor | None]:
        """Return a client's α and R̄_j, as ``loss`` takes them: here it has its own matrix only."""
        return 1.0, None

    def loss(
        self,
        module: nn.Module,
        x_BCHW: Tensor,
        augmentation: Augmentation,
        generator: torch.Generator,
        *,
        alpha: float = 1.0,
        others_PP: Tensor | None = None,
    ) -> Tensor:
        """Return a client's loss on a batch of its images; with ``others_PP`` it is FedSC's.

        Parameters
        ----------
        module : nn.Module
            Extractor and projector.
        x_BCHW : Tensor
            Images of the batch.
        augmentation : Augmentation
            Law of the views: the data set's.
        generator : torch.Generator
            Draws the views; of the stream ``views`` (client, counter, step).
        alpha, others_PP
            As of ``nmoe_sim.nmoe.spectral.fedsc_loss``.
        """
        from nmoe_sim.nmoe.spectral import fedsc_loss, projected_views

        z1, z2 = projected_views(module, x_BCHW, augmentation, self.mu, generator)
        return fedsc_loss(z1, z2, alpha=alpha, others_PP=others_PP)
