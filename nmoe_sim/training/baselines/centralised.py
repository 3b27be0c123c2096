"""A mixture of experts trained in one place, on everybody's data: an upper bound, and what privacy forbids."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import Event

from nmoe_sim.errors import RunError
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count, NonNegative
from nmoe_sim.training import fedgate
from nmoe_sim.training.clock import Steps
from nmoe_sim.training.extraction import STAGE, keep_features
from nmoe_sim.training.federation.history import Attempt, History, Step
from nmoe_sim.training.learning import Learning, checked_values, is_evaluated, settings_of
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.nmoe.joint import JointMixture
    from nmoe_sim.nmoe.values import Checkpoint


class Centralised(Stage):
    """Clients upload their data, the server trains extractor, N experts and gate together, and sends out the parts.

    The loss is that of a mixture with noisy top-k gating (Shazeer et al. 2017), and of the load's balance. All clients
    get the same extractor and gate, client i gets expert i, which has no more to do with its data than the others.
    ``model.gate`` is trained whole, with its local part. Every expert computes on every sample in training, and
    that is charged, to the server.

    A client that is away when its upload should begin, or whose upload is lost, has no part in the data. Experts
    and gates go out in the stages that they belong to.
    """

    kind: ClassVar[str] = "centralised"
    goes_with: ClassVar[Mapping[str, tuple[str, ...]]] = {"experts": ("head",), "gate": ("joint",)}

    rounds: Count = 20
    """Rounds of ``optimizer.epochs`` passes over all data; the optimiser starts at rest in each, as clients' do."""
    optimizer: Optimizer = Optimizer(lr=0.05)
    """Training in each round."""
    evaluate_every: Count = 5
    """Rounds between two points of the learning curve."""
    noise_std: NonNegative = 0.5
    """Noise on the scores."""
    load_balance: NonNegative = 0.01
    """Coefficient of the load-balance loss."""
    top_k: Count | None = None
    """Experts in the mixture of a training sample; null: as in the training of a gate alone."""
    bytes_per_value: Count = 1
    """Bytes of one value of an image as it is uploaded: 1 for pixels of 8 bits. A label takes one more."""

    @property
    def trains_experts(self) -> bool:
        """See ``Stage``."""
        return True

    @property
    def heads_travel(self) -> bool:
        """See ``Stage``."""
        return True

    def upload_bytes(self, learning: Learning, client: int) -> int:
        """Return the bytes of a client's data."""
        values: int = learning.data.train_x[client][0].numel() if learning.data.num_train[client] else 0
        return learning.data.num_train[client] * (self.bytes_per_value * values + 1)

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``."""
        from nmoe_sim.nmoe.cost import training_step_flop

        clock = learning.clock(STAGE)
        env, history = learning.simulation.env, clock.history

        def upload(attempt: Attempt) -> Steps:
            yield clock.up(attempt.client, self.upload_bytes(learning, attempt.client), "data", attempt)
            attempt.work = history.add_work(attempt.client, 0, 0)
            attempt.version = 1

        attempts = [clock.begin(client, 0, clock.why_away(client)) for client in range(len(learning.clients))]
        yield env.all_of([clock.start(a, upload(a)) for a in attempts if a.reason is None])
        history.settle()
        joint, num_samples = self._joint(learning), sum(learning.data.num_train[w.client] for w in history.works)
        x, y = learning.data.train_x[0][:1], learning.data.train_y[0][:1]
        sample_flop = training_step_flop(joint, lambda m, x, y: self._loss(learning, m(x), y, None), x, y)
        for number in range(self.rounds):
            yield clock.server_job(sample_flop * num_samples * self.optimizer.epochs, "joint_train", number)
            history.add_step(Step("average"), clock.now_s)
        yield clock.broadcast(learning.costs.extractor_bytes, "model_down")
        return history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        clients, model = [work.client for work in history.works], learning.model
        if not clients:
            raise RunError("no client's data reached the server, so there is nothing to train on; see the table rounds")
        parts = {"experts": len(learning.clients), "top_k": model.top_k, "combine": model.combine}
        settings = {**settings_of(self, model.gate), **parts, "clients": clients}
        values = learning.store.compute(
            STAGE,
            settings,
            lambda checkpoint: checked_values(learning, STAGE, self._train(learning, clients, checkpoint)),
        )
        device = learning.data.test_x.device
        joint = self._joint(learning).to(device)
        joint.load_state_dict(_joint_state(values))
        learning.extractor.load_state_dict(joint.extractor.state_dict())
        learning.heads = [expert.state_dict() for expert in joint.experts]
        learning.gates = [joint.gate.state_dict()] * len(learning.clients)
        keep_features(learning)
        learning.record_rounds(STAGE, history, [float("nan")] * len(history.works))
        for number, accuracy in values["accuracy_joint"].tolist():
            learning.record_metric(
                STAGE, int(number), history.t_version_s[int(number)], "accuracy_joint", "global", None, accuracy
            )

    def _joint(self, learning: Learning) -> JointMixture:
        """Build the whole mixture; experts start from weights of their own, or they would stay alike."""
        from nmoe_sim.nmoe.joint import JointMixture
        from nmoe_sim.nmoe.randomness import torch_generator

        sizes, streams = (learning.model.extractor.num_features, learning.data.num_classes), learning.simulation.streams
        experts = [
            learning.model.expert.build(*sizes, torch_generator(streams, "init_joint_expert", i))
            for i in range(len(learning.clients))
        ]
        return JointMixture(learning.extractor, experts, learning.gate)

    def _train(self, learning: Learning, clients: Sequence[int], checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Compute all rounds on the data of some clients."""
        import torch

        from nmoe_sim.nmoe.cohort import batches, train_modules
        from nmoe_sim.nmoe.randomness import torch_generator

        data, streams, optimizer = learning.data, learning.simulation.streams, self.optimizer
        joint = self._joint(learning).to(data.test_x.device)
        x, y = (torch.cat([table[client] for client in clients]) for table in (data.train_x, data.train_y))
        done, tensors = checkpoint.load()
        state: State = joint.state_dict() if tensors is None else _joint_state(tensors)
        points = [] if tensors is None else tensors["accuracy_joint"].tolist()

        def result() -> dict[str, Tensor]:
            curve = torch.tensor(points, dtype=torch.float64).reshape(-1, 2)
            return {**{f"{_JOINT}{name}": tensor for name, tensor in state.items()}, "accuracy_joint": curve}

        with learning.progress("stage 1: centralised mixture", self.rounds) as advance:
            for number in range(done, self.rounds):

                def loss(module: nn.Module, _: int, index: Tensor, step: int, number: int = number) -> Tensor:
                    scores_BN, outputs_BNC = module(x[index])
                    draws = torch_generator(streams, "joint_noise", number, step)
                    noise_BN = torch.randn(scores_BN.shape, generator=draws).to(scores_BN)
                    return self._loss(learning, (scores_BN, outputs_BNC), y[index], noise_BN)

                rng = streams.generator(f"batches/{STAGE}/joint", number)
                plan = batches(len(y), batch_size=optimizer.batch_size, epochs=optimizer.epochs, rng=rng)
                scale = optimizer.lr_scale(number, self.rounds)
                [state], _ = train_modules(joint, [state], [plan], loss, optimizer, lr_scale=scale)
                if is_evaluated(number, self.rounds, self.evaluate_every):
                    points.append([number, self._accuracy(learning, joint, state)])
                checkpoint.save(number + 1, result())
                advance()
        return {**result(), "losses": torch.zeros(0)}

    def _mixture_size(self, learning: Learning) -> int:
        return min(len(learning.clients), self.top_k or max(2, learning.model.top_k))

    def _loss(
        self, learning: Learning, out: tuple[Tensor, Tensor], labels_B: Tensor, noise_BN: Tensor | None
    ) -> Tensor:
        from nmoe_sim.nmoe.losses import load_balance_loss, mixture_loss

        scores_BN, outputs_BNC = out
        if noise_BN is not None:
            scores_BN = scores_BN + self.noise_std * noise_BN
        size = self._mixture_size(learning)
        fit = mixture_loss(scores_BN, outputs_BNC, labels_B, top_k=size, how=learning.model.combine).mean()
        return fit + self.load_balance * load_balance_loss(scores_BN, size)

    def _accuracy(self, learning: Learning, joint: JointMixture, state: State) -> float:
        """Return the accuracy of the mixture of ``model.top_k`` experts on the global test set."""
        from nmoe_sim.nmoe.evaluate import nmoe_accuracy

        joint.load_state_dict(state)
        scores_TN, outputs_TNC = joint.tables(learning.data.test_x)
        return nmoe_accuracy(
            scores_TN,
            outputs_TNC.transpose(0, 1),
            learning.data.test_y,
            top_k=learning.model.top_k,
            how=learning.model.combine,
        )


_JOINT = "joint."
"""Stored names of the mixture's tensors begin with it."""


def _joint_state(tensors: Mapping[str, Tensor]) -> State:
    return {name.removeprefix(_JOINT): tensor for name, tensor in tensors.items() if name.startswith(_JOINT)}


class JointGate(Stage):
    """The gate that was trained together with the extractor and the experts goes to every client."""

    kind: ClassVar[str] = "joint"
    goes_with: ClassVar[Mapping[str, tuple[str, ...]]] = {"extractor": ("centralised",)}

    def experts_held(self, num_experts: int) -> int:
        """Return 1: the client's own."""
        return 1

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``."""
        clock = learning.clock(fedgate.STAGE)
        yield clock.broadcast(learning.costs.gate_bytes, "model_down")
        return clock.history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        learning.store.compute(fedgate.STAGE, settings_of(self), lambda _: {})
