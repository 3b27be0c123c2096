"""What the stages of training share: clients, data, model, costs, and the tables they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.errors import RunError
from nmoe_sim.training.rounds import Round, StageClock, Steps

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.optimizer import Optimizer
    from nmoe_sim.nmoe.values import ValueStore
    from nmoe_sim.scenario.scenario import Scenario
    from nmoe_sim.scenario.spec import Spec

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""progress(label, total) as a context gives a function to call after each step."""


@contextmanager
def no_progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Show nothing."""
    yield lambda: None


@dataclass(frozen=True)
class ClientData:
    """Data as the clients hold it."""

    train_x: list[Tensor]
    """Images of each client, (n_i, C, H, W)."""
    train_y: list[Tensor]
    """Labels of each client, (n_i,)."""
    test_x: Tensor
    """Common test set, (T, C, H, W)."""
    test_y: Tensor
    """Its labels, (T,)."""
    test_parts: list[NDArray[np.int64]]
    """Rows of the test set that are each client's local test set."""
    num_classes: int
    digest: str
    """Hash of the data set."""
    split_digest: str
    """Hash of who holds which training samples."""

    @property
    def num_train(self) -> list[int]:
        """Training samples of each client."""
        return [len(y) for y in self.train_y]


@dataclass(frozen=True)
class ModelCosts:
    """Declared costs of the model's parts: FLOP of one sample, bytes of the tensors."""

    features_flop: int
    gate_flop: int
    expert_flop: int
    extractor_bytes: int
    expert_bytes: int
    gate_bytes: int
    features_bytes: int
    """Features of one sample."""
    output_bytes: int
    """Output of one expert for one sample."""


@dataclass
class Learning:
    """A model being trained over a simulated network.

    Stage by stage the trained values appear: ``extractor`` and the feature tables, ``experts`` and the
    output tables, ``gates`` and the score table.
    """

    scenario: Scenario
    simulation: Simulation
    clients: Sequence[str]
    server: str
    data: ClientData
    costs: ModelCosts
    extractor: nn.Module
    expert: nn.Module
    """Architecture and initial weights of every expert."""
    gate: nn.Module
    """Architecture and initial weights of every gate."""
    store: ValueStore
    workers: int = 1
    """Threads that train clients side by side; results don't depend on it."""
    progress: Progress = no_progress
    train_h: list[Tensor] = field(default_factory=list)
    """Features of each client's training samples, (n_i, D)."""
    test_h: Tensor | None = None
    """Features of the test set, (T, D)."""
    experts: list[State] = field(default_factory=list)
    train_outputs: list[Tensor] = field(default_factory=list)
    """Logits of every expert for each client's training samples, (n_i, N, C)."""
    test_outputs: Tensor | None = None
    """Logits of every expert for the test set, (N, T, C)."""
    gates: list[State] = field(default_factory=list)

    @property
    def tested_h(self) -> Tensor:
        """Features of the test set; stage 1 computes them."""
        assert self.test_h is not None
        return self.test_h

    @property
    def tested_outputs(self) -> Tensor:
        """Outputs of every expert for the test set; stage 2 computes them."""
        assert self.test_outputs is not None
        return self.test_outputs

    def nmoe_accuracy(self, gates: Sequence[State]) -> float:
        """Return ``accuracy_nmoe`` on the global test set, mean over clients."""
        from nmoe_sim.nmoe.evaluate import gate_scores, nmoe_accuracy

        model = self.scenario.model
        values = [
            nmoe_accuracy(
                gate_scores(self.gate, [gate], self.tested_h)[0],
                self.tested_outputs,
                self.data.test_y,
                top_k=model.top_k,
                how=model.combine,
            )
            for gate in gates
        ]
        return float(np.mean(values))

    @property
    def weights(self) -> list[float]:
        """Weight of each client in averages: its share p_j of the training samples."""
        total = sum(self.data.num_train)
        return [n / total for n in self.data.num_train]

    def clock(self, stage: str) -> StageClock:
        """Return the clock of a stage."""
        return StageClock(self.simulation, stage, self.clients, self.server)

    def record_rounds(self, stage: str, rounds: Sequence[Round], losses: NDArray[np.float64]) -> None:
        """Write ``rounds`` rows; ``losses`` is (rounds, clients)."""
        for number, (book, loss) in enumerate(zip(rounds, losses.tolist(), strict=True)):
            for i, client in enumerate(self.clients):
                self.simulation.recorder.add(
                    "rounds",
                    stage=stage,
                    round=number,
                    client=client,
                    participated=True,
                    reason=None,
                    t_start_s=book.t_start_s,
                    t_end_s=book.t_end_s[i],
                    loss=None if np.isnan(loss[i]) else loss[i],
                    num_samples=self.data.num_train[i],
                    bytes_down=book.bytes_down[i],
                    bytes_up=book.bytes_up[i],
                )

    def record_metric(
        self, stage: str, round: int | None, t_s: float, metric: str, split: str, client: str | None, value: float
    ) -> None:
        """Write a ``metrics`` row."""
        self.simulation.recorder.add(
            "metrics", stage=stage, round=round, t_s=t_s, metric=metric, split=split, client=client, value=value
        )

    def record_curve(self, stage: str, rounds: Sequence[Round], metric: str, values: Mapping[int, float]) -> None:
        """Write ``metrics`` rows of a learning curve: by round, the mean over clients on the global test set."""
        for number, value in values.items():
            self.record_metric(stage, number, rounds[number].t_closed_s, metric, "global", None, value)


class Stage(Protocol):
    """A stage of training, one of the families ``extractor_training``, ``expert_training``, ``gate_training``.

    The clock goes first: who moves and computes what, when. Then the values, which no time enters.
    """

    def clock(self, learning: Learning) -> Steps:
        """Move and run everything of the stage; returns its rounds (``list[Round]``)."""

    def values(self, learning: Learning, rounds: list[Round]) -> None:
        """Compute the stage's values, put them into ``learning`` and record rounds and metrics."""


def checked_values(learning: Learning, stage: str, train: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return what training leaves.

    Raises
    ------
    RunError
        If it diverged: a trained value, or the loss of a client that has samples, isn't finite.
    """
    import torch

    values = train()
    broken = [name for name, tensor in values.items() if name != "losses" and not torch.isfinite(tensor).all()]
    has_samples = torch.tensor([n > 0 for n in learning.data.num_train])
    if broken or not torch.isfinite(values["losses"][:, has_samples]).all():
        raise RunError(
            f"training.{stage} diverged: not every loss and weight is finite; "
            f"lower training.{stage}.optimizer.lr or set training.{stage}.optimizer.clip_norm"
        )
    return values


def batch_plans(learning: Learning, stage: str, optimizer: Optimizer, round: int) -> list[list[NDArray[np.int64]]]:
    """Return each client's batches of one round: a function of stage, client and round."""
    from nmoe_sim.nmoe.cohort import batches

    return [
        batches(
            num_samples,
            batch_size=optimizer.batch_size,
            epochs=optimizer.epochs,
            rng=learning.simulation.streams.generator(f"batches/{stage}", client, round),
        )
        for client, num_samples in enumerate(learning.data.num_train)
    ]


def evaluated_rounds(num_rounds: int, every: int) -> list[int]:
    """Return the rounds after which a curve is evaluated: each ``every``-th and the last."""
    return [r for r in range(num_rounds) if (r + 1) % every == 0 or r == num_rounds - 1]


def settings_of(*specs: Spec) -> dict[str, object]:
    """Return specs as JSON values, for the key of stored values."""
    return {type(spec).__name__: spec.model_dump(mode="json") for spec in specs}
