"""Stage 3: the gate, of a shared and a local part, trained over fixed experts (FedGate).

The published description (arXiv 2511.01743) says that FedGate synchronises the gate's shared part and
keeps the local part. Our interpretation of the rest: the two parts' scores add up; the loss is the
mixture's own negative log-likelihood; a client needs the outputs of all experts for its samples, and
gets them by fetching the experts once or by sending features, each charged to the links.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from simpy.events import Event

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count, NonNegative
from nmoe_sim.training.clock import StageClock, Steps
from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import History, Work
from nmoe_sim.training.federation.learners import HeadLearner
from nmoe_sim.training.federation.memory import Memory, Outcome, whole
from nmoe_sim.training.federation.stage import FederatedStage
from nmoe_sim.training.learning import Learning, checked_values, is_evaluated

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.stacked import HeadBatch, HeadLoss
    from nmoe_sim.nmoe.values import Checkpoint

STAGE = "gate"


class FedGate(FederatedStage):
    """Partially synchronised gates; ``synchronise`` also gives the two baselines."""

    kind: ClassVar[str] = "fedgate"
    needs_one_model: ClassVar[bool] = False

    optimizer: Optimizer = Optimizer(lr=0.1)
    """Local training in each round."""
    synchronise: Literal["shared", "all", "none"] = "shared"
    """Parts averaged in a round: ``shared`` is FedGate, ``all`` FedAvg on the whole gate, ``none`` local gates."""
    exchange: Literal["experts", "outputs"] = "experts"
    """How clients get the experts' outputs for their samples: all experts once, or features out and outputs back."""
    noise_std: NonNegative = 0.5
    """Noise on the scores in training (noisy top-k, Shazeer et al. 2017)."""
    top_k: Count | None = None
    """Experts in the mixture the gate is trained on; null: ``model.top_k``, but two where that is one, since the
    weight of a single expert is 1 and teaches nothing."""

    def mixture_size(self, top_k: int, num_experts: int) -> int:
        """Return how many experts a training sample's mixture has, given ``model.top_k``."""
        return min(num_experts, self.top_k or max(2, top_k))

    def experts_held(self, num_experts: int) -> int:
        """Return how many experts a client holds at a time in this stage."""
        return num_experts if self.exchange == "experts" else 1

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """See ``Stage``."""
        yield from self._exchange(learning, learning.clock(STAGE))
        history = yield from self.federate(learning, STAGE, self._costs(learning))
        _, moved_bytes = self._moved(learning)
        if moved_bytes and self.protocol.has_server:
            yield learning.clock(STAGE).broadcast(moved_bytes, "model_down")
        return history

    def _moved(self, learning: Learning) -> tuple[list[str], int]:
        """Return the names and bytes of the parts that are synchronised."""
        from nmoe_sim.nmoe.cost import tensor_bytes

        state = learning.gate.state_dict()
        names = [n for n in state if self.synchronise == "all" or (self.synchronise, n[:7]) == ("shared", "shared.")]
        return names, tensor_bytes({name: state[name] for name in names})

    def _costs(self, learning: Learning) -> RoundCosts:
        from nmoe_sim.nmoe.cost import average_flop, num_elements

        state, (names, _) = learning.gate.state_dict(), self._moved(learning)
        down_bytes, up_bytes = self.moved_bytes(state, names)
        sample_flop, epochs = self._step_flop(learning), self.optimizer.epochs
        return RoundCosts(
            down_bytes=down_bytes,
            up_bytes=up_bytes,
            train_flop=[sample_flop * num_samples * epochs for num_samples in learning.data.num_train],
            mean_flop=average_flop(num_elements({name: state[name] for name in names}), 1) if names else 0.0,
        )

    def _exchange(self, learning: Learning, clock: StageClock) -> Steps:
        """Get every client the experts' outputs for its samples."""
        costs, num_train = learning.costs, learning.data.num_train
        others = len(learning.clients) - 1

        def upload(client: int) -> Steps:
            yield clock.up(client, costs.expert_bytes, "expert")

        def fetch(client: int) -> Steps:
            yield clock.down(client, others * costs.expert_bytes, "expert")
            yield clock.job(client, costs.expert_flop * num_train[client] * (others + 1), "expert")

        def ask(client: int) -> Steps:
            env = clock.simulation.env
            yield env.all_of([env.process(ask_one(client, owner)) for owner in range(others + 1)])

        def ask_one(client: int, owner: int) -> Steps:
            samples = num_train[client]
            yield clock.across(client, owner, samples * costs.features_bytes, "features")
            yield clock.job(owner, costs.expert_flop * samples, "expert")
            yield clock.across(owner, client, samples * costs.output_bytes, "output")

        if self.exchange == "outputs":
            yield clock.each(ask)
        elif others:
            yield clock.each(upload)
            yield clock.each(fetch)
        else:
            yield clock.job(0, costs.expert_flop * num_train[0], "expert")

    def _step_flop(self, learning: Learning) -> int:
        """Return the FLOP of training on one sample."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.losses import mixture_loss

        model = learning.scenario.model
        top_k = self.mixture_size(model.top_k, len(learning.clients))
        h, y, outputs = learning.train_h[0][:1], learning.data.train_y[0][:1], learning.train_outputs[0][:1]
        return training_step_flop(
            learning.gate,
            lambda gate, h, o, y: mixture_loss(gate(h), o, y, top_k=top_k, how=model.combine).mean(),
            h,
            outputs,
            y,
        )

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        model = learning.scenario.model
        settings = {**self.settings(history), "top_k": model.top_k, "combine": model.combine}
        values = learning.store.compute(
            STAGE,
            settings,
            lambda checkpoint: checked_values(learning, STAGE, self._train(learning, history, checkpoint).tensors()),
        )
        outcome = Outcome.from_tensors(values, learning.data.test_x.device)
        learning.gates = [outcome.state(client) for client in range(len(learning.clients))]
        learning.record_history(STAGE, self, history, outcome)

    def _train(self, learning: Learning, history: History, checkpoint: Checkpoint) -> Outcome:
        """Compute all rounds."""
        clients = range(len(learning.clients))

        def evaluate(version: int, memory: Memory) -> dict[str, float]:
            if not is_evaluated(version, len(history.steps), self.evaluate_every):
                return {}
            gates = [whole(memory.models, memory.personal, client) for client in clients]
            return {"accuracy_nmoe": learning.nmoe_accuracy(gates)}

        memory = self.replay(
            learning,
            STAGE,
            "stage 3: gate (FedGate)",
            history,
            HeadLearner(
                learning,
                STAGE,
                self.optimizer,
                self.rounds,
                self._head(learning),
                lambda works: self._loss(learning, works),
            ),
            [learning.gate.state_dict()] * len(clients),
            self._moved(learning)[0],
            evaluate,
            checkpoint,
        )
        return Outcome.of(memory, len(history.works))

    def _head(self, learning: Learning) -> nn.Module:
        """Return the module that is trained, with the gate's parameters; ``_loss`` sees what it returns."""
        return learning.gate

    def _loss(self, learning: Learning, works: Sequence[Work]) -> HeadLoss:
        """Return the loss of a cohort: the mixture's own, with noise on the scores."""
        import torch

        from nmoe_sim.nmoe.losses import masked_mean, mixture_loss

        clients = [work.client for work in works]
        labels = torch.cat([learning.data.train_y[client] for client in clients])
        outputs = torch.cat([learning.train_outputs[client] for client in clients])
        model, streams = learning.scenario.model, learning.simulation.streams
        top_k = self.mixture_size(model.top_k, len(learning.clients))

        def loss(out_ABN: Tensor, batch: HeadBatch) -> Tensor:
            values_AB = mixture_loss(
                out_ABN + self.noise_std * score_noise(streams, works, batch, out_ABN),
                outputs[batch.rows_AB],
                labels[batch.rows_AB],
                top_k=top_k,
                how=model.combine,
            )
            return masked_mean(values_AB, batch.mask_AB)

        return loss


def score_noise(streams: RandomStreams, works: Sequence[Work], batch: HeadBatch, like_ABN: Tensor) -> Tensor:
    """Draw standard normal noise on scores, each client's from a stream of its own, whoever else is in the batch."""
    import torch

    from nmoe_sim.nmoe.randomness import torch_generator

    noise_ABN = torch.zeros(like_ABN.shape, dtype=like_ABN.dtype)
    widths = batch.mask_AB.sum(dim=1).tolist()
    for i, (position, width) in enumerate(zip(batch.clients_A.tolist(), widths, strict=True)):
        work = works[position]
        generator = torch_generator(streams, "gate_noise", work.client, work.counter, batch.step)
        noise_ABN[i, :width] = torch.randn((width, like_ABN.shape[-1]), generator=generator)
    return noise_ABN.to(like_ABN.device)
