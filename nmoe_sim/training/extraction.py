"""What the two extractor trainings share: a model of extractor and a part that is thrown away."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Spec
from nmoe_sim.training.learning import Learning, checked_values, settings_of
from nmoe_sim.training.rounds import Round

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State

STAGE = "extractor"


class ExtractorTraining(Spec):
    """Federated training of the feature extractor: implement ``clock``, ``add_on`` and ``train``."""

    kind: ClassVar[str] = ""

    rounds: Count = 20
    """Rounds of local training and averaging."""
    optimizer: Optimizer = Optimizer()
    """Local training in each round."""

    @abstractmethod
    def add_on(self, learning: Learning) -> nn.Module:
        """Build the part on top of the extractor that is trained with it and then thrown away."""

    @abstractmethod
    def train(self, learning: Learning, model: nn.Module) -> dict[str, Tensor]:
        """Train; returns the final state and ``losses`` (rounds, clients), and curves by ``curve.NAME``."""

    def model(self, learning: Learning) -> nn.Module:
        """Return extractor and add-on, one after the other: what moves in the rounds."""
        from torch import nn

        return nn.Sequential(learning.extractor, self.add_on(learning).to(learning.data.test_x.device))

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """Train, keep the extractor, compute every sample's features once, record rounds and curves."""
        from nmoe_sim.nmoe.evaluate import features

        values = learning.store.compute(
            STAGE,
            settings_of(self),
            lambda: checked_values(learning, STAGE, lambda: self.train(learning, self.model(learning))),
        )
        state: State = {
            name.removeprefix("0."): tensor.to(learning.data.test_x.device)
            for name, tensor in values.items()
            if name.startswith("0.")
        }
        learning.extractor.load_state_dict(state)
        learning.train_h = [features(learning.extractor, x) for x in learning.data.train_x]
        learning.test_h = features(learning.extractor, learning.data.test_x)
        learning.record_rounds(STAGE, rounds, values["losses"].numpy().astype(np.float64))
        for name, curve in values.items():
            if name.startswith("curve."):
                points = {int(r): float(v) for r, v in curve.tolist()}
                learning.record_curve(STAGE, rounds, name.removeprefix("curve."), points)


def curve(points: dict[int, float]) -> Any:
    """Return a learning curve as a tensor of (round, value)."""
    import torch

    return torch.tensor(sorted(points.items()), dtype=torch.float64).reshape(-1, 2)
