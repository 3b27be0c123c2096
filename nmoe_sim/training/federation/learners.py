"""Local training by two sorts of losses: of what a model says to samples, and of the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.training.federation.history import Work
from nmoe_sim.training.federation.replay import Learner

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import Loss, State, Trained
    from nmoe_sim.nmoe.optimizer import Optimizer
    from nmoe_sim.nmoe.stacked import StackedLoss
    from nmoe_sim.training.learning import Learning


LossOf = Callable[[Sequence[Work], Sequence[Mapping[str, "Tensor"]]], "Loss"]
"""A cohort's works and what their clients know of reports, to the cohort's loss, whose clients are positions."""


def plans(learning: Learning, stage: str, optimizer: Optimizer, works: Sequence[Work]) -> list[list[NDArray[np.int64]]]:
    """Return the batches of each work: a function of stage, client and counter."""
    return [batch_plan(learning, stage, optimizer, work.client, work.counter) for work in works]


def batch_plan(
    learning: Learning, stage: str, optimizer: Optimizer, client: int, counter: int
) -> list[NDArray[np.int64]]:
    """Return a client's batches of one piece of work."""
    from nmoe_sim.nmoe.cohort import batches

    rng = learning.simulation.streams.generator(f"batches/{stage}", client, counter)
    size, epochs = optimizer.batch_size, optimizer.epochs
    return batches(learning.data.num_train[client], batch_size=size, epochs=epochs, rng=rng)


@dataclass
class _OfStage(Learner):
    learning: Learning
    stage: str
    optimizer: Optimizer
    num_versions: int
    """Versions that the learning rate's schedule is spread over."""

    def num_steps(self, work: Work) -> int:
        """See ``Learner``."""
        size, num_samples = self.optimizer.batch_size, self.learning.data.num_train[work.client]
        return self.optimizer.epochs * -(-num_samples // (size or num_samples or 1))

    def _lr_scale(self, works: Sequence[Work]) -> float:
        return self.optimizer.lr_scale(works[0].base, self.num_versions)


def frozen_names(module: nn.Module) -> list[str]:
    """Return the names of a module's tensors that have no gradient: frozen parameters, and buffers."""
    from nmoe_sim.nmoe.cohort import trainable

    moving = trainable(module)
    return [name for name in module.state_dict() if name not in moving]


@dataclass
class _OfModel(_OfStage):
    model: nn.Module

    def frozen(self) -> list[str]:
        """See ``Learner``."""
        return frozen_names(self.model)


@dataclass
class SampleLearner(_OfModel):
    """Trains by a loss of what the model says to clients' samples: images, or features of them.

    How a cohort is computed is ``strategy``'s choice. ``loss_of(works)`` gives the cohort's loss, whose clients are
    positions in ``works``.
    """

    inputs: Sequence[Tensor]
    """Each client's samples."""
    loss_of: Callable[[Sequence[Work]], StackedLoss]

    def train(
        self,
        works: Sequence[Work],
        states: Sequence[State],
        *,
        proximal: Mapping[str, float],
        offsets: Sequence[State] | None,
        known: Sequence[Mapping[str, Tensor]],
    ) -> Trained:
        """See ``Learner``."""
        from nmoe_sim.nmoe.strategy import train_cohort

        return train_cohort(
            self.model,
            states,
            [self.inputs[work.client] for work in works],
            plans(self.learning, self.stage, self.optimizer, works),
            self.loss_of(works),
            self.optimizer,
            lr_scale=self._lr_scale(works),
            proximal=proximal,
            offsets=offsets,
            workers=self.learning.workers,
            memory_bytes=self.learning.scenario.training.memory_bytes,
        )


@dataclass
class ModuleLearner(_OfModel):
    """Trains by a loss that calls the model itself, such as on random views; clients are side by side."""

    loss_of: LossOf

    def train(
        self,
        works: Sequence[Work],
        states: Sequence[State],
        *,
        proximal: Mapping[str, float],
        offsets: Sequence[State] | None,
        known: Sequence[Mapping[str, Tensor]],
    ) -> Trained:
        """See ``Learner``."""
        from nmoe_sim.nmoe.cohort import train_modules
        from nmoe_sim.nmoe.strategy import affordable_workers

        learning, batches = self.learning, plans(self.learning, self.stage, self.optimizer, works)
        memory_bytes, shape = learning.scenario.training.memory_bytes, learning.data.train_x[0].shape[1:]
        return train_modules(
            self.model,
            states,
            batches,
            self.loss_of(works, known),
            self.optimizer,
            lr_scale=self._lr_scale(works),
            workers=affordable_workers(self.model, shape, batches, self.optimizer, learning.workers, memory_bytes),
            proximal=proximal,
            offsets=offsets,
        )
