"""Stage 2: each client trains its own expert on its own labelled data, over frozen features."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from simpy.events import Event

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.clock import StageClock, Steps
from nmoe_sim.training.federation.history import Attempt, History, Step
from nmoe_sim.training.learning import Learning, checked_values, settings_of
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from torch import Tensor

    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.early_stopping import EarlyStopping

STAGE = "experts"


@dataclass
class _History(History):
    """With who was there at the start, and what they trained where the clock had to know it: how many epochs."""

    present: list[int] = field(default_factory=list)
    trained: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class _Samples:
    """Rows of each client that it trains on, and that it validates on."""

    train: list[NDArray[np.int64]] = field(default_factory=list)
    validation: list[NDArray[np.int64]] = field(default_factory=list)


class LocalTraining(Stage):
    """Cross-entropy on the client's own samples; experts don't move.

    The features of a client's samples are computed once and kept: the extractor is frozen. A client that is
    away when the stage begins, or goes away before it is through, keeps the weights it would have started with.

    With ``patience`` a client holds back some of its samples, and ends with the weights of the epoch of lowest
    cross-entropy on them. The epochs that it makes are then computed before the clock charges them; what a scenario
    will cost is told before there are values, and counts all ``optimizer.epochs``.
    """

    kind: ClassVar[str] = "local"

    optimizer: Optimizer = Optimizer(lr=0.05, epochs=20)
    """Local training; ``epochs`` is the whole training, or with ``patience`` the longest."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share ε of the uniform law in the targets."""
    patience: Count | None = None
    """Early stopping: epochs without a lower validation loss after which a client stops; null: it makes all."""
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of a client's samples that it validates on, rounded down, drawn by the seed; used with ``patience``."""
    start: Literal["fresh", "head"] = "fresh"
    """First weights: the same drawn ones for all, or those of the head that stage 1 trained on the extractor. A head
    that was averaged comes from the server first, and a client that can't train has drawn weights instead."""

    @model_validator(mode="after")
    def _schedule_has_rounds(self) -> LocalTraining:
        if self.optimizer.schedule != "constant":
            raise ValueError(
                f"optimizer.schedule '{self.optimizer.schedule}' goes over rounds, and experts are trained in none; "
                "set it to constant"
            )
        return self

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        super().check(scenario, topology)
        if self.start == "head":
            check_heads(scenario, "start 'head'")

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import training_step_flop

        h, y = learning.train_h[0][:1], learning.data.train_y[0][:1]
        sample_flop = training_step_flop(learning.expert, lambda m, h, y: self._loss_of(m(h), y).mean(), h, y)
        history = _History()
        clock = StageClock(learning.simulation, STAGE, learning.clients, learning.server, history)
        attempts = [clock.begin(client, 0, clock.why_away(client)) for client in range(len(learning.clients))]
        history.present = present = [attempt.client for attempt in attempts if attempt.reason is None]
        epochs = dict.fromkeys(present, self.optimizer.epochs)
        if self.patience is not None and learning.has_values:
            history.trained = self._trained(learning, present)
            epochs = dict(zip(present, history.trained["epochs"].tolist(), strict=True))
        samples = self._samples(learning, present)

        def local_training(attempt: Attempt) -> Steps:
            client, costs = attempt.client, learning.costs
            place = present.index(client)
            num_train, num_validation = len(samples.train[place]), len(samples.validation[place])
            if self.start == "head" and learning.scenario.training.extractor.heads_travel:
                yield clock.down(client, costs.expert_bytes, "model_down", attempt)
            yield clock.job(client, costs.features_flop * (num_train + num_validation), "features", attempt)
            epoch_flop = sample_flop * num_train + costs.expert_flop * num_validation
            yield clock.job(client, epoch_flop * epochs[client], "local_train", attempt)
            attempt.work = history.add_work(client, 0, 0)
            attempt.version = 1

        yield learning.simulation.env.all_of(
            [clock.start(attempt, local_training(attempt)) for attempt in attempts if attempt.reason is None]
        )
        history.add_step(Step("gossip"), clock.now_s)
        history.settle()
        return history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        assert isinstance(history, _History)
        present = history.present
        trained = history.trained if history.trained is not None else self._trained(learning, present)
        # those who came home with it: a client that went down while it trained keeps what it had before
        learning.store.depend_on({"trained": [work.client for work in history.works]})
        device = learning.data.test_x.device
        experts = [self._untrained(learning, client) for client in range(len(learning.clients))]
        for work in history.works:
            place = present.index(work.client)
            experts[work.client] = {name: trained[name][place].to(device) for name in experts[work.client]}
        keep_experts(learning, experts)
        losses = [trained["losses"][present.index(work.client)].item() for work in history.works]
        learning.record_rounds(STAGE, history, losses)
        if self.patience is not None:
            for work in history.works:
                name, number = learning.clients[work.client], trained["epochs"][present.index(work.client)].item()
                learning.record_metric(STAGE, 0, history.t_version_s[-1], "epochs", "local", name, number)

    def _trained(self, learning: Learning, clients: Sequence[int]) -> dict[str, Tensor]:
        """Return stacked states, losses and numbers of epochs of clients; nobody's depend on the others."""
        settings = {**settings_of(self), "clients": list(clients)}
        return learning.store.compute(
            STAGE, settings, lambda _: checked_values(learning, STAGE, self._train(learning, clients))
        )

    def _train(self, learning: Learning, clients: Sequence[int]) -> dict[str, Tensor]:
        import torch

        from nmoe_sim.nmoe.cohort import batches, stack
        from nmoe_sim.nmoe.stacked import of_labels
        from nmoe_sim.nmoe.strategy import train_cohort

        samples, (size, epochs) = self._samples(learning, clients), (self.optimizer.batch_size, self.optimizer.epochs)
        streams, data = learning.simulation.streams, learning.data
        plans = [
            batches(len(rows), batch_size=size, epochs=epochs, rng=streams.generator(f"batches/{STAGE}", client, 0))
            for client, rows in zip(clients, samples.train, strict=True)
        ]
        early = None if self.patience is None else self._early_stopping(learning, clients, samples)
        labels = [data.train_y[client][rows] for client, rows in zip(clients, samples.train, strict=True)]
        with learning.progress("stage 2: experts", 1) as advance:
            trained = train_cohort(
                learning.expert,
                [self._start(learning, client) for client in clients],
                [learning.train_h[client][rows] for client, rows in zip(clients, samples.train, strict=True)],
                plans,
                of_labels(labels, self._loss_of),
                self.optimizer,
                workers=learning.workers,
                memory_bytes=learning.scenario.training.memory_bytes,
                early=early,
            )
            advance()
        made = np.full(len(clients), epochs) if early is None else early.epochs
        return {
            **(stack(trained.states) if clients else {}),
            "losses": torch.from_numpy(trained.losses),
            "epochs": torch.from_numpy(made),
        }

    def _samples(self, learning: Learning, clients: Sequence[int]) -> _Samples:
        """Return which rows of each client are for what."""
        samples = _Samples()
        for client in clients:
            num_samples = learning.data.num_train[client]
            num_validation = 0 if self.patience is None else int(self.validation_share * num_samples)
            held_back = np.zeros(num_samples, dtype=bool)
            rng = learning.simulation.streams.generator("validation", client)
            held_back[rng.permutation(num_samples)[:num_validation]] = True
            samples.train.append(np.flatnonzero(~held_back))
            samples.validation.append(np.flatnonzero(held_back))
        return samples

    def _early_stopping(self, learning: Learning, clients: Sequence[int], samples: _Samples) -> EarlyStopping:
        from nmoe_sim.nmoe.early_stopping import EarlyStopping

        assert self.patience is not None
        size = self.optimizer.batch_size
        held_back = list(zip(clients, samples.validation, strict=True))
        return EarlyStopping(
            learning.expert,
            self.patience,
            [-(-len(rows) // (size or len(rows) or 1)) for rows in samples.train],
            [learning.train_h[client][rows] for client, rows in held_back],
            [learning.data.train_y[client][rows] for client, rows in held_back],
        )

    def _start(self, learning: Learning, client: int) -> State:
        return learning.heads[client] if self.start == "head" else learning.expert.state_dict()

    def _untrained(self, learning: Learning, client: int) -> State:
        """Return the expert of a client that didn't train: its own head, if it has one and would have begun with it."""
        heads_travel = learning.scenario.training.extractor.heads_travel
        return learning.expert.state_dict() if heads_travel else self._start(learning, client)

    def _loss_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        from nmoe_sim.nmoe.losses import smoothed_cross_entropy

        return smoothed_cross_entropy(logits, labels, self.label_smoothing)


class Heads(Stage):
    """The heads that stage 1 trained on the extractor are the experts; nothing is trained.

    For methods whose model is whole after stage 1. A head that the server has goes to every client.
    """

    kind: ClassVar[str] = "head"

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        super().check(scenario, topology)
        check_heads(scenario, f"'{self.kind}'")

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``."""
        clock = learning.clock(STAGE)
        if learning.scenario.training.extractor.heads_travel:
            yield clock.broadcast(learning.costs.expert_bytes, "model_down")
        return clock.history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        learning.store.compute(STAGE, settings_of(self), lambda _: {})
        keep_experts(learning, learning.heads)


def check_heads(scenario: Scenario, what: str) -> None:
    """Raise ValueError where stage 1 leaves no heads that can be experts."""
    if not scenario.training.extractor.trains_experts:
        raise ValueError(
            f"{what} goes on from a head of the architecture of model.expert, and stage 1 leaves none; "
            "set training.extractor.kind to fedce and training.extractor.head to expert"
        )


def keep_experts(learning: Learning, experts: Sequence[State]) -> None:
    """Make these the clients' experts, and compute their outputs for every sample."""
    from nmoe_sim.nmoe.evaluate import expert_outputs

    learning.experts = list(experts)
    learning.train_outputs = [
        expert_outputs(learning.expert, learning.experts, h).transpose(0, 1).contiguous() for h in learning.train_h
    ]
    learning.test_outputs = expert_outputs(learning.expert, learning.experts, learning.tested_h)
