"""Stage 1, supervised: federated averaging on the cross-entropy of a throw-away head (FedCE)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from nmoe_sim.training.extraction import STAGE, ExtractorTraining, mean_accuracy, module_costs
from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.learners import SampleLearner
from nmoe_sim.training.federation.memory import Memory
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.stacked import StackedLoss


class FedCE(ExtractorTraining):
    """FedAvg (McMahan et al. 2017) with a head on the extractor, thrown away afterwards.

    A round: the server sends the model; clients train it on their labelled data and return it; the
    server averages by numbers of samples.
    """

    kind: ClassVar[str] = "fedce"
    title: ClassVar[str] = "FedCE"

    head: Literal["linear", "expert"] = "linear"
    """The head: linear, or of the architecture of ``model.expert``, so that stage 2 can go on from it."""

    @property
    def trains_experts(self) -> bool:
        """See ``Stage``."""
        return self.head == "expert"

    @property
    def heads_travel(self) -> bool:
        """See ``Stage``: without a server every client has its own."""
        return bool(self.protocol.has_server)

    def add_on(self, learning: Learning) -> nn.Module:
        """Build the head."""
        return build_head(learning, self.head)

    def costs(self, learning: Learning, model: nn.Module) -> RoundCosts:
        """See ``ExtractorTraining``."""
        return module_costs(self, learning, model, self.synchronised(model), cross_entropy_flop(learning, model))

    def learner(self, learning: Learning, model: nn.Module) -> SampleLearner:
        """See ``ExtractorTraining``."""
        images, loss_of = learning.data.train_x, cross_entropy_of(learning)
        return SampleLearner(learning, STAGE, self.optimizer, self.rounds, model, images, loss_of)

    def curves(self, learning: Learning, model: nn.Module, memory: Memory) -> Mapping[str, float]:
        """Return the accuracy of the throw-away head."""
        return {"accuracy_head": mean_accuracy(learning, model, memory)}


def build_head(learning: Learning, head: Literal["linear", "expert"]) -> nn.Module:
    """Build a head on the features, its weights drawn."""
    from nmoe_sim.nmoe.modules import linear
    from nmoe_sim.nmoe.randomness import torch_generator

    model, num_classes = learning.model, learning.data.num_classes
    generator = torch_generator(learning.simulation.streams, "init_head")
    if head == "linear":
        return linear(model.extractor.num_features, num_classes, generator)
    built: nn.Module = model.expert.build(model.extractor.num_features, num_classes, generator)
    return built


def cross_entropy_flop(learning: Learning, model: nn.Module) -> int:
    """Return the FLOP of training on one sample."""
    from nmoe_sim.nmoe.cost import training_step_flop

    return training_step_flop(model, _loss_on, learning.data.train_x[0][:1], learning.data.train_y[0][:1])


def cross_entropy_of(learning: Learning) -> Callable[[Sequence[Work]], StackedLoss]:
    """Return what gives a cohort's loss, as ``SampleLearner`` wants it."""

    def loss_of(works: Sequence[Work]) -> StackedLoss:
        from nmoe_sim.nmoe.stacked import of_labels

        return of_labels([learning.data.train_y[work.client] for work in works])

    return loss_of


def _loss_on(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    from nmoe_sim.nmoe.losses import cross_entropy

    return cross_entropy(module(x), y).mean()
