"""Stage 1, supervised: FedAvg on the cross-entropy of a throw-away head (FedCE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nmoe_sim.scenario.quantities import Count
from nmoe_sim.training.extraction import STAGE, ExtractorTraining, curve
from nmoe_sim.training.learning import Learning, batch_plans, evaluated_rounds
from nmoe_sim.training.rounds import Round, Steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from simpy.events import Event
    from torch import Tensor, nn


class FedCE(ExtractorTraining):
    """FedAvg (McMahan et al. 2017) with a linear head on the extractor, thrown away afterwards.

    A round: the server sends the model; each client trains it on its labelled data and returns it; the
    server averages by numbers of samples. All clients take part and are waited for.
    """

    kind: ClassVar[str] = "fedce"

    evaluate_every: Count = 5
    """Rounds between two points of the learning curve."""

    def add_on(self, learning: Learning) -> nn.Module:
        """Build the head."""
        from nmoe_sim.nmoe.modules import linear
        from nmoe_sim.nmoe.randomness import torch_generator

        num_features = learning.scenario.model.extractor.num_features
        generator = torch_generator(learning.simulation.streams, "init_head")
        return linear(num_features, learning.data.num_classes, generator)

    def clock(self, learning: Learning) -> Generator[Event, None, list[Round]]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import average_flop, num_elements, tensor_bytes, training_step_flop

        model = self.model(learning)
        model_bytes = tensor_bytes(model.state_dict())
        num_values = num_elements(model.state_dict())
        x, y = learning.data.train_x[0][:1], learning.data.train_y[0][:1]
        sample_flop = training_step_flop(model, _loss_on, x, y)
        clock = learning.clock(STAGE)

        def local_training(client: int) -> Steps:
            yield clock.down(client, model_bytes, "model_down")
            num_samples = learning.data.num_train[client] * self.optimizer.epochs
            yield clock.job(client, sample_flop * num_samples, "local_train")
            yield clock.up(client, model_bytes, "model_up")

        for _ in range(self.rounds):
            clock.begin_round()
            yield clock.each(local_training)
            yield clock.server_job(average_flop(num_values, len(learning.clients)), "aggregate")
            clock.end_round()
        yield clock.broadcast(learning.costs.extractor_bytes, "model_down")
        return clock.rounds

    def train(self, learning: Learning, model: nn.Module) -> dict[str, Tensor]:
        """Compute all rounds."""
        import torch

        from nmoe_sim.nmoe.cohort import average, train_modules
        from nmoe_sim.nmoe.evaluate import accuracy, features

        data = learning.data

        def loss(module: nn.Module, client: int, index: Tensor, step: int) -> Tensor:
            return _loss_on(module, data.train_x[client][index], data.train_y[client][index])

        state, losses, points = model.state_dict(), [], {}
        evaluated = set(evaluated_rounds(self.rounds, self.evaluate_every))
        with learning.progress("stage 1: feature extractor (FedCE)", self.rounds) as advance:
            for number in range(self.rounds):
                plans = batch_plans(learning, STAGE, self.optimizer, number)
                scale = self.optimizer.lr_scale(number, self.rounds)
                trained = train_modules(
                    model, [state] * len(plans), plans, loss, self.optimizer, lr_scale=scale, workers=learning.workers
                )
                state = average(trained.states, learning.weights)
                losses.append(trained.losses)
                if number in evaluated:
                    model.load_state_dict(state)
                    points[number] = accuracy(features(model, data.test_x), data.test_y)
                advance()
        return {**state, "losses": torch.from_numpy(np.stack(losses)), "curve.accuracy_head": curve(points)}


def _loss_on(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    from nmoe_sim.nmoe.losses import cross_entropy

    return cross_entropy(module(x), y).mean()
