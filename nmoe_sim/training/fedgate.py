"""Stage 3: the gate, of a shared and a local part, trained over fixed experts (FedGate).

The published description (arXiv 2511.01743) says that FedGate synchronises the gate's shared part and
keeps the local part. Our interpretation of the rest: the loss is the mixture's own negative
log-likelihood; a client needs the outputs of the experts it may ask for its samples, and gets them by fetching
the experts once or by sending features, each charged to the links; the neighbours it may ask are all other
clients, or those one hop away in the topology when the stage begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator
from simpy.events import Event

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.scenario.quantities import Count, NonNegative
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.training.clock import StageClock, Steps
from nmoe_sim.training.exchange import Exchange
from nmoe_sim.training.federation.federation import RoundCosts
from nmoe_sim.training.federation.history import Attempt, History, Work
from nmoe_sim.training.federation.learners import SampleLearner
from nmoe_sim.training.federation.memory import Memory, Outcome, whole
from nmoe_sim.training.federation.stage import FederatedStage
from nmoe_sim.training.learning import Learning, checked_values, is_evaluated

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.engine.topology import Topology
    from nmoe_sim.nmoe.losses import FixedExperts
    from nmoe_sim.nmoe.stacked import StackedBatch, StackedLoss
    from nmoe_sim.nmoe.values import Checkpoint

STAGE = "gate"


class FedGate(FederatedStage):
    """Partially synchronised gates; ``synchronise`` also gives the two baselines."""

    kind: ClassVar[str] = "fedgate"
    title: ClassVar[str] = "FedGate"
    """Names the stage's progress."""
    needs_one_model: ClassVar[bool] = False
    exchanges_in_rounds: ClassVar[bool] = False
    """Whether experts or outputs move when a round first needs them; if not, all do before the first round."""

    optimizer: Optimizer = Optimizer(lr=0.1)
    """Local training in each round."""
    synchronise: Literal["shared", "all", "none"] = "shared"
    """Parts averaged in a round: ``shared`` is FedGate, ``all`` FedAvg on the whole gate, ``none`` local gates."""
    exchange: Literal["experts", "outputs"] = "experts"
    """How clients get the experts' outputs for their samples: each expert once, or features out and outputs back."""
    peers: Literal["all", "neighbours"] = "all"
    """Whose experts a client may ask beside its own, in training and ever after: everybody's, or those of the clients
    one hop away when the stage begins."""
    noise_std: NonNegative = 0.5
    """Noise on the scores in training, of one constant size, where Shazeer et al. 2017 (noisy top-k) learn it."""
    top_k: Count | None = None
    """Experts in the mixture the gate is trained on; null: ``model.top_k``, but two where that is one, since the
    weight of a single expert is 1 and teaches nothing. A client that may ask fewer trains on those."""
    load_balance: NonNegative = 0.0
    """Coefficient of the load-balance loss over the experts that a client may ask (Switch Transformers: 0.01)."""
    z_loss: NonNegative = 0.0
    """Coefficient of the z-loss, which keeps scores small (ST-MoE: 0.001)."""

    @model_validator(mode="after")
    def _nothing_synchronised_needs_nothing(self) -> FedGate:
        plain = {"local_update": "sgd", "server_update": "average", "compression": "none", "privacy": "none"}
        for key, kind in plain.items():
            if self.synchronise == "none" and (found := getattr(self, key).kind) != kind:
                raise ValueError(
                    f"{key} '{found}' has nothing to work on, since synchronise 'none' moves no part of a gate; "
                    f"set {key} to {kind}, or synchronise to shared or all"
                )
        return self

    def check(self, scenario: Scenario, topology: Topology) -> None:
        """See ``Stage``."""
        super().check(scenario, topology)
        if self.peers == "neighbours" and not any(
            link.src.kind == link.dst.kind == "device" for link in topology.links
        ):
            raise ValueError(
                f"peers 'neighbours', and in topology '{scenario.topology.kind}' no client is linked to another; "
                "set training.gate.peers to all, or take a topology with sidelinks, such as grid"
            )

    def mixture_size(self, top_k: int, num_experts: int) -> int:
        """Return how many experts a training sample's mixture has, given ``model.top_k``."""
        return min(num_experts, self.top_k or max(2, top_k))

    def experts_held(self, num_experts: int) -> int:
        """Return how many experts a client holds at a time in this stage."""
        return num_experts if self.exchange == "experts" else 1

    def peers_of(self, learning: Learning, client: int, counter: int, pool: Sequence[int]) -> list[int]:
        """Return the experts that a client trains its gate on in its part of a round, of those it may ask.

        Parameters
        ----------
        learning : Learning
        client, counter : int
            The client, and the round, or its how-manieth attempt where there are none.
        pool : sequence of int
            Experts that it may ask, its own among them.
        """
        return list(pool)

    def clock(self, learning: Learning) -> Generator[Event, None, History]:
        """See ``Stage``."""
        clock, clients = learning.clock(STAGE), range(len(learning.clients))
        pools = [list(clients)] * len(clients)
        if self.peers == "neighbours":
            pools = [sorted({client, *clock.neighbours(client)}) for client in clients]
        exchange = Exchange(learning, clock, self.exchange, self.protocol.has_server and self.peers == "all")
        costs = self._costs(learning)
        if self.exchanges_in_rounds:

            def first(_: StageClock, attempt: Attempt) -> Steps:
                client = attempt.client
                return exchange.part(attempt, self.peers_of(learning, client, attempt.round, pools[client]))

            costs = replace(costs, prelude=first)
        else:
            yield exchange.everything(pools)
            pools = [sorted({client, *known}) for client, known in enumerate(exchange.known)]
        history = yield from self.federate(learning, STAGE, costs)
        history.peers = pools if any(len(pool) < len(clients) for pool in pools) else None
        _, moved_bytes = self._moved(learning)
        if moved_bytes and self.protocol.has_server:
            yield learning.clock(STAGE).broadcast(moved_bytes, "model_down")
        return history

    def _moved(self, learning: Learning) -> tuple[list[str], int]:
        """Return the names and bytes of the parts that are synchronised."""
        from nmoe_sim.nmoe.cost import tensor_bytes

        state = learning.gate.state_dict()
        parts: dict[str, str | tuple[()]] = {"all": "", "shared": "shared.", "none": ()}
        names = [name for name in state if name.startswith(parts[self.synchronise])]
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

    def _step_flop(self, learning: Learning) -> int:
        """Return the FLOP of training on one sample."""
        from nmoe_sim.nmoe.cost import training_step_flop
        from nmoe_sim.nmoe.losses import mixture_loss

        model = learning.model
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
        model, learning.peers = learning.model, history.peers
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
            f"stage 3: gate ({self.title})",
            history,
            SampleLearner(
                learning,
                STAGE,
                self.optimizer,
                self.rounds,
                self._head(learning),
                learning.train_h,
                self._losses(learning),
            ),
            [learning.gate.state_dict()] * len(clients),
            self._moved(learning)[0],
            evaluate,
            checkpoint,
        )
        return Outcome.of(memory, len(history.works))

    def _head(self, learning: Learning) -> nn.Module:
        """Return the module that is trained, with the gate's parameters; its loss sees what it returns."""
        return learning.gate

    def _losses(self, learning: Learning) -> Callable[[Sequence[Work]], StackedLoss]:
        """Return what gives a cohort's loss: the mixture's own, with noise on the scores, and the regularisers."""
        from nmoe_sim.nmoe.channel_gate import Draws
        from nmoe_sim.nmoe.losses import FixedExperts, masked_mean

        experts, top_k = self._experts(learning), self.mixture_size(learning.model.top_k, len(learning.clients))

        def loss_of(works: Sequence[Work]) -> StackedLoss:
            clients = [work.client for work in works]
            draws = Draws(learning.simulation.streams, clients, [work.counter for work in works])
            available_WN = self.available(learning, works)
            fixed = FixedExperts.cat([experts[client] for client in clients])

            def loss(out_ABN: Tensor, batch: StackedBatch) -> Tensor:
                scores_ABN = draws.noisy_scores(out_ABN, self.noise_std, available_WN, batch)
                loss_A = masked_mean(fixed.loss(scores_ABN, batch.rows_AB, top_k), batch.mask_AB)
                return loss_A + self.regularisers(scores_ABN, top_k, batch.mask_AB)

            return loss

        return loss_of

    def _experts(self, learning: Learning) -> list[FixedExperts]:
        """Return what all experts say to each client's samples."""
        from nmoe_sim.nmoe.losses import FixedExperts

        how, labels = learning.model.combine, learning.data.train_y
        return [FixedExperts.of(said, y, how) for said, y in zip(learning.train_outputs, labels, strict=True)]

    def available(self, learning: Learning, works: Sequence[Work]) -> Tensor | None:
        """Return which experts each work trains on, bool (W, N); None where each trains on all."""
        import torch

        everybody = range(len(learning.clients))
        available_WN = torch.zeros((len(works), len(everybody)), dtype=torch.bool)
        for row, work in zip(available_WN, works, strict=True):
            pool = everybody if learning.peers is None else learning.peers[work.client]
            row[self.peers_of(learning, work.client, work.counter, pool)] = True
        return None if available_WN.all() else available_WN.to(learning.data.test_x.device)

    def regularisers(self, scores_ABN: Tensor, top_k: int, mask_AB: Tensor) -> Tensor:
        """Return what is added to each client's loss (A,), of scores that are -inf where an expert isn't available."""
        from nmoe_sim.nmoe.losses import load_balance_loss, masked_mean, z_loss

        added_A = scores_ABN.new_zeros(len(scores_ABN))
        if self.load_balance:
            # the loss's factor is the number of all experts; here it is that of the available ones
            share_A = scores_ABN[:, 0].isfinite().to(scores_ABN).mean(dim=-1)
            added_A = added_A + self.load_balance * share_A * load_balance_loss(scores_ABN, top_k, mask_AB)
        if self.z_loss:
            added_A = added_A + self.z_loss * masked_mean(z_loss(scores_ABN), mask_AB)
        return added_A
