"""Personalised models: the body is averaged, every client has a head of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.training.extraction import STAGE
from nmoe_sim.training.fedce import FedCE, cross_entropy_flop, cross_entropy_of
from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.learners import SampleLearner
from nmoe_sim.training.learning import Learning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State, Trained

BODY = "0."
"""Names of the extractor's tensors begin with it, in the model of extractor and head."""


class FedPer(FedCE):
    """Body and head are trained together at each client; the server averages the body alone.

    Source: Arivazhagan et al., "Federated Learning with Personalization Layers", 2019, arXiv 1912.00818. The body is
    ``model.extractor``, the personal layers are ``model.expert``. With ``training.experts`` ``head`` and
    ``training.gate`` ``own`` it is the published method; its heads may as well be experts of a mixture.
    """

    kind: ClassVar[str] = "fedper"
    title: ClassVar[str] = "FedPer"

    head: Literal["expert"] = "expert"
    """The head is of the architecture of ``model.expert``."""

    @property
    def heads_travel(self) -> bool:
        """See ``Stage``: each client has its own."""
        return False

    def synchronised(self, model: nn.Module) -> list[str]:
        """Return the names of the body's tensors."""
        return [name for name in model.state_dict() if name.startswith(BODY)]


class FedRep(FedPer):
    """FedPer in two phases: a client first trains its head on the body as received, then the body under that head.

    Source: Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021,
    arXiv 2102.07078, Algorithm 1, with epochs in place of single updates. The features of the first phase are
    computed, and charged, in each of its epochs. What ``local_update`` corrects is the body's phase.
    """

    kind: ClassVar[str] = "fedrep"
    title: ClassVar[str] = "FedRep"

    optimizer: Optimizer = Optimizer(lr=0.02)
    """Local training in each round. Under a head that fits already, steps of FedCE's size tear the body apart."""
    head_epochs: Count = 5
    """Passes over a client's samples in the head's phase; ``optimizer.epochs`` are the body's."""

    def costs(self, learning: Learning, model: nn.Module) -> RoundCosts:
        """See ``ExtractorTraining``."""
        head_flop, body_flop = (
            cross_entropy_flop(learning, part) * epochs
            for part, epochs in zip(phases(model), (self.head_epochs, self.optimizer.epochs), strict=True)
        )
        train_flop = [(head_flop + body_flop) * num_samples for num_samples in learning.data.num_train]
        return replace(super().costs(learning, model), train_flop=train_flop)

    def learner(self, learning: Learning, model: nn.Module) -> SampleLearner:
        """See ``ExtractorTraining``."""
        images, loss_of = learning.data.train_x, cross_entropy_of(learning)
        return _Learner(learning, STAGE, self.optimizer, self.rounds, model, images, loss_of, self.head_epochs)


def phases(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return two copies of a model of body and head: one that trains the head alone, one the body alone."""
    import copy

    trains_head, trains_body = copy.deepcopy(model), copy.deepcopy(model)
    for name, parameter in trains_head.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.startswith(BODY))
    for name, parameter in trains_body.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(BODY))
    if not any(parameter.requires_grad for parameter in trains_body.parameters()):
        raise InputError(
            "'fedrep' trains the extractor in a phase of its own, and all of it is frozen; set kind to fedper or fedce",
            key="training.extractor",
        )
    return trains_head, trains_body


@dataclass
class _Learner(SampleLearner):
    """Local training in two phases."""

    head_epochs: int

    def train(
        self,
        works: Sequence[Work],
        states: Sequence[State],
        *,
        proximal: Mapping[str, float],
        offsets: Sequence[State] | None,
        known: Sequence[Mapping[str, Tensor]],
    ) -> Trained:
        """See ``Learner``; the loss is that of the body's phase."""
        trains_head, trains_body = phases(self.model)
        optimizer = self.optimizer.model_copy(update={"epochs": self.head_epochs})
        heads = replace(self, stage=f"{self.stage}/head", optimizer=optimizer, model=trains_head)
        bodies = replace(self, model=trains_body)
        first = super(_Learner, heads).train(works, states, proximal={}, offsets=None, known=known)
        return super(_Learner, bodies).train(works, first.states, proximal=proximal, offsets=offsets, known=known)
