"""What the trainings of the extractor share: a model of extractor and a part that is thrown away."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from simpy.events import Event

from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.federation.memory import SERVER, Memory, Outcome, common, consensus_distance, whole
from nmoe_sim.training.federation.replay import Learner
from nmoe_sim.training.federation.stage import FederatedStage
from nmoe_sim.training.learning import Learning, checked_values, is_evaluated

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.values import Checkpoint

STAGE = "extractor"

Probe = Literal["knn", "linear"]


class ExtractorTraining(FederatedStage):
    """Federated training of the feature extractor: implement ``add_on``, ``costs`` and ``learner``."""

    kind: ClassVar[str] = ""
    title: ClassVar[str] = ""
    """Names the stage's progress."""

    probes: tuple[Probe, ...] = ()
    """Evaluations of the features by themselves, on the pooled training data: ``knn`` (``accuracy_knn``) and a
    ``linear`` probe (``accuracy_linear_probe``), at each point of the learning curve."""

    @abstractmethod
    def add_on(self, learning: Learning) -> nn.Module:
        """Build the part on top of the extractor that is trained with it and then thrown away."""

    @abstractmethod
    def costs(self, learning: Learning, model: nn.Module) -> RoundCosts:
        """Return the declared costs of a client's part of a round."""

    @abstractmethod
    def learner(self, learning: Learning, model: nn.Module) -> Learner:
        """Return the local training."""

    def synchronised(self, model: nn.Module) -> list[str]:
        """Return the names of the tensors that move; the others stay with the client."""
        return list(model.state_dict())

    def curves(self, learning: Learning, model: nn.Module, memory: Memory) -> Mapping[str, float]:
        """Return the points of learning curves, by metric; the probes are added."""
        return {}

    def model(self, learning: Learning) -> nn.Module:
        """Return extractor and add-on, one after the other: what moves in the rounds."""
        from torch import nn

        return nn.Sequential(learning.extractor, self.add_on(learning).to(learning.data.test_x.device))

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """See ``Stage``."""
        history = yield from self.federate(learning, STAGE, self.costs(learning, self.model(learning)))
        if self.protocol.has_server:
            yield learning.clock(STAGE).broadcast(learning.costs.extractor_bytes, "model_down")
        return history

    def values(self, learning: Learning, history: History) -> None:
        """Train, keep the extractor, compute every sample's features once, record rounds and curves."""
        values = learning.store.compute(
            STAGE,
            self.settings(history),
            lambda checkpoint: checked_values(learning, STAGE, self._train(learning, history, checkpoint).tensors()),
        )
        outcome = Outcome.from_tensors(values, learning.data.test_x.device)
        learning.extractor.load_state_dict(_part(outcome.common(), "0."))
        learning.heads = [_part(outcome.state(client), "1.") for client in range(len(learning.clients))]
        keep_features(learning)
        learning.record_history(STAGE, self, history, outcome)

    def _train(self, learning: Learning, history: History, checkpoint: Checkpoint) -> Outcome:
        model = self.model(learning)

        def evaluate(version: int, memory: Memory) -> dict[str, float]:
            points: dict[str, float] = {}
            if is_evaluated(version, len(history.steps), self.evaluate_every):
                points.update(self.curves(learning, model, memory))
                points.update(self._probed(learning, model, memory))
            if version == len(history.steps) - 1 and not self.protocol.has_server:
                points["consensus_distance"] = consensus_distance(memory.models)
            return points

        memory = self.replay(
            learning,
            STAGE,
            f"stage 1: feature extractor ({self.title})",
            history,
            self.learner(learning, model),
            [model.state_dict()] * len(learning.clients),
            self.synchronised(model),
            evaluate,
            checkpoint,
        )
        return Outcome.of(memory, len(history.works))

    def _probed(self, learning: Learning, model: nn.Module, memory: Memory) -> dict[str, float]:
        """Evaluate the extractor as it is now."""
        if not self.probes:
            return {}
        state = common(memory.models)
        learning.extractor.load_state_dict(_part(state, "0."))
        return probe_accuracies(learning, self.probes)


def keep_features(learning: Learning) -> None:
    """Compute every sample's features by the extractor as it is now, and keep them."""
    from nmoe_sim.nmoe.evaluate import features

    learning.train_h = [features(learning.extractor, x) for x in learning.data.train_x]
    learning.test_h = features(learning.extractor, learning.data.test_x)


def probe_accuracies(learning: Learning, probes: tuple[Probe, ...]) -> dict[str, float]:
    """Return the accuracies of probes on the extractor's features, by metric."""
    import torch

    from nmoe_sim.nmoe.evaluate import features
    from nmoe_sim.nmoe.probes import knn_accuracy, linear_probe_accuracy

    measures = {"knn": ("accuracy_knn", knn_accuracy), "linear": ("accuracy_linear_probe", linear_probe_accuracy)}
    data = learning.data
    train_h, train_y = features(learning.extractor, torch.cat(data.train_x)), torch.cat(data.train_y)
    test_h = features(learning.extractor, data.test_x)
    return {
        name: measure(train_h, train_y, test_h, data.test_y, data.num_classes)
        for name, measure in (measures[probe] for probe in probes)
    }


def mean_accuracy(learning: Learning, model: nn.Module, memory: Memory) -> float:
    """Return the accuracy of the whole model on the global test set, mean over clients that have different ones."""
    import numpy as np

    from nmoe_sim.nmoe.evaluate import accuracy, features

    is_one = SERVER in memory.models and not memory.own(0)
    values = []
    for client in range(1 if is_one else len(learning.clients)):
        model.load_state_dict(whole(memory.models, memory.personal, client))
        values.append(accuracy(features(model, learning.data.test_x), learning.data.test_y))
    return float(np.mean(values))


def _part(state: State, prefix: str) -> State:
    """Return the tensors of one part of the model."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def module_costs(
    stage: FederatedStage, learning: Learning, model: nn.Module, synchronised: list[str], sample_flop: float
) -> RoundCosts:
    """Return the costs of a round of local training, given the FLOP of one training sample."""
    from nmoe_sim.nmoe.cost import average_flop, num_elements

    state: dict[str, Tensor] = model.state_dict()
    down_bytes, up_bytes = stage.moved_bytes(state, synchronised)
    epochs = stage.optimizer.epochs
    return RoundCosts(
        down_bytes=down_bytes,
        up_bytes=up_bytes,
        train_flop=[sample_flop * num_samples * epochs for num_samples in learning.data.num_train],
        mean_flop=average_flop(num_elements({name: state[name] for name in synchronised}), 1),
    )
