"""What the stages of training share: clients, data, model, costs, and the tables they fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.errors import RunError
from nmoe_sim.training.clock import StageClock
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.gating import Gating, TrainedGates

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.values import ValueStore
    from nmoe_sim.scenario.scenario import ModelSection, Scenario
    from nmoe_sim.scenario.spec import Spec
    from nmoe_sim.training.federation.memory import Outcome
    from nmoe_sim.training.federation.stage import FederatedStage

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
    """Images of each client as it sees them, (n_i, C, H, W)."""
    train_y: list[Tensor]
    """Labels of each client, (n_i,)."""
    test_x: Tensor
    """Common test set, each sample as the client sees it whose local test set it is in, (T, C, H, W)."""
    test_y: Tensor
    """Its labels, (T,)."""
    test_parts: list[NDArray[np.int64]]
    """Rows of the test set that are each client's local test set."""
    num_classes: int
    digest: str
    """Hash of the data set."""
    split_digest: str
    """Hash of who holds which training samples, and of how they look to whom."""

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
    model: ModelSection
    """The scenario's model as its methods of training reshape it."""
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
    heads: list[State] = field(default_factory=list)
    """What stage 1 trained on top of the extractor, for each client; a method that has none leaves it as built."""
    experts: list[State] = field(default_factory=list)
    train_outputs: list[Tensor] = field(default_factory=list)
    """Logits of every expert for each client's training samples, (n_i, N, C)."""
    test_outputs: Tensor | None = None
    """Logits of every expert for the test set, (N, T, C)."""
    gates: list[State] = field(default_factory=list)
    gating: Gating | None = None
    """How clients score experts; None: by ``gates``."""
    peers: Sequence[Sequence[int]] | None = None
    """Experts that each client may ask, its own among them; None: all. The others' scores are -inf."""

    @property
    def has_values(self) -> bool:
        """Tell whether tensors have content; if not, only the clock can go."""
        return not self.data.test_x.is_meta

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

    def test_scores(self) -> Tensor:
        """Return how every client scores every expert for the test set, (N, T, E)."""
        import torch

        outputs_TEC = self.tested_outputs.transpose(0, 1)
        gating, labels = self._gating, self.data.test_y
        rows = [gating.scores(i, self.tested_h, outputs_TEC, labels) for i in range(len(self.clients))]
        return torch.stack([self._among_peers(i, scores_TE) for i, scores_TE in enumerate(rows)])

    def train_scores(self, client: int, rows: Tensor, *, local: bool) -> Tensor:
        """Return how a client scores every expert for training samples, its own or rows of all clients' together."""
        import torch

        if local:
            tables = self.train_h[client], self.train_outputs[client], self.data.train_y[client]
        else:
            tables = torch.cat(self.train_h), torch.cat(self.train_outputs), torch.cat(self.data.train_y)
        return self._among_peers(client, self._gating.scores(client, *(table[rows] for table in tables)))

    def _among_peers(self, client: int, scores_BE: Tensor) -> Tensor:
        """Return scores with -inf for the experts that a client may not ask."""
        if self.peers is None:
            return scores_BE
        is_strange = np.ones(scores_BE.shape[-1], dtype=bool)
        is_strange[list(self.peers[client])] = False
        return scores_BE.masked_fill(scores_BE.new_tensor(is_strange).bool(), -np.inf)

    @property
    def _gating(self) -> Gating:
        return TrainedGates(self.gate, self.gates) if self.gating is None else self.gating

    def nmoe_accuracy(self, gates: Sequence[State]) -> float:
        """Return ``accuracy_nmoe`` of gates on the global test set, mean over clients."""
        from nmoe_sim.nmoe.evaluate import nmoe_accuracy

        model, labels = self.model, self.data.test_y
        outputs_TEC, gating = self.tested_outputs.transpose(0, 1), TrainedGates(self.gate, gates)
        values = [
            nmoe_accuracy(
                self._among_peers(i, gating.scores(i, self.tested_h, outputs_TEC, labels)),
                self.tested_outputs,
                labels,
                top_k=model.top_k,
                how=model.combine,
            )
            for i in range(len(gates))
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

    def record_history(self, stage: str, spec: FederatedStage, history: History, outcome: Outcome) -> None:
        """Write a federated stage's ``rounds`` rows, its learning curves, and the privacy that was spent."""
        self.record_rounds(stage, history, outcome.losses.tolist())
        for metric, points in outcome.curves.items():
            for version, value in points.items():
                self.record_metric(stage, version, history.t_version_s[version], metric, "global", None, value)
        for version, t_s in enumerate(history.t_version_s):
            if is_evaluated(version, len(history.steps), spec.evaluate_every):
                for metric, epsilon in spec.privacy_spent(self, history, version).items():
                    self.record_metric(stage, version, t_s, metric, "global", None, epsilon)

    def record_rounds(self, stage: str, history: History, losses: Sequence[float]) -> None:
        """Write ``rounds`` rows; ``losses`` is by work."""
        for attempt in sorted(history.attempts, key=lambda one: (one.round, one.client)):
            loss = None if attempt.work is None else losses[attempt.work]
            self.simulation.recorder.add(
                "rounds",
                stage=stage,
                round=attempt.round,
                client=self.clients[attempt.client],
                participated=attempt.version is not None,
                reason=attempt.reason,
                t_start_s=attempt.t_start_s,
                t_end_s=attempt.t_end_s,
                loss=None if loss is None or np.isnan(loss) else loss,
                num_samples=self.data.num_train[attempt.client],
                bytes_down=attempt.bytes_down,
                bytes_up=attempt.bytes_up,
                version=attempt.version,
                staleness=history.staleness(attempt),
            )

    def record_metric(
        self, stage: str, round: int | None, t_s: float, metric: str, split: str, client: str | None, value: float
    ) -> None:
        """Write a ``metrics`` row."""
        self.simulation.recorder.add(
            "metrics", stage=stage, round=round, t_s=t_s, metric=metric, split=split, client=client, value=value
        )


def checked_values(learning: Learning, stage: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what training leaves: tensors by name, with ``losses`` by work.

    Raises
    ------
    RunError
        If it diverged: a trained value, or the loss of a client that has samples, isn't finite.
    """
    import torch

    finite = all(torch.isfinite(tensor).all() for name, tensor in values.items() if name != "losses")
    if not finite or torch.isinf(values["losses"]).any():
        raise RunError(
            f"training.{stage} diverged: not every loss and weight is finite; "
            f"lower training.{stage}.optimizer.lr or set training.{stage}.optimizer.clip_norm"
        )
    return values


def is_evaluated(version: int, num_versions: int, every: int) -> bool:
    """Return whether a learning curve has a point at a version: at each ``every``-th and the last."""
    return (version + 1) % every == 0 or version == num_versions - 1


def settings_of(*specs: Spec) -> dict[str, object]:
    """Return specs as JSON values, with the kinds they hold, for the key of stored values."""
    from nmoe_sim.scenario.dump import resolve_spec

    return {type(spec).__name__: resolve_spec(spec, portable=True) for spec in specs}
