"""From a history to values: every version's cohort trains, then the version's step is taken.

Nothing here knows of time. All works that start from one version are computed as one cohort, in the
order of the history, whether or not their updates arrive: a client that trained has changed what it keeps. Where a
client starts from a version again, that is a cohort of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.aggregation import Aggregation
from nmoe_sim.training.federation.contracts import checked_pair
from nmoe_sim.training.federation.history import History, Step, Work
from nmoe_sim.training.federation.memory import SERVER, Memory, by_number

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State, Trained
    from nmoe_sim.nmoe.values import Checkpoint
    from nmoe_sim.training.federation.stage import FederatedStage


class Learner(ABC):
    """A stage's local training, as ``replay`` needs it."""

    reports: bool = False
    """Whether clients report something of the model before they train (``report``)."""

    @abstractmethod
    def train(
        self,
        works: Sequence[Work],
        states: Sequence[State],
        *,
        proximal: Mapping[str, float],
        offsets: Sequence[State] | None,
        known: Sequence[Mapping[str, Tensor]],
    ) -> Trained:
        """Train a cohort.

        Parameters
        ----------
        works : sequence of Work
            Clients, draws' counters and versions.
        states : sequence of State
            Whole model that each starts from.
        proximal, offsets
            As of ``nmoe_sim.nmoe.cohort.train_modules``.
        known : sequence of mapping
            For each work the last reports, by client's number, of those its client can have heard of.
        """

    @abstractmethod
    def num_steps(self, work: Work) -> int:
        """Return the local steps of a work."""

    def frozen(self) -> Collection[str]:
        """Return the names of the tensors that training leaves as they are."""
        return ()

    def report(self, work: Work, state: State) -> Tensor:
        """Return what a client reports of a model."""
        raise NotImplementedError(f"{type(self).__name__} has no reports")


@dataclass
class Replay:
    """Computes a stage's values.

    Parameters
    ----------
    stage : FederatedStage
        Settings.
    stage_name : str
        Names the draws.
    learner : Learner
    weights : sequence of float
        Each client's share of the training samples.
    streams : RandomStreams
    evaluate : callable
        Takes a version's number and the memory, returns points of learning curves.
    advance : callable
        Called after each step, to show progress.
    """

    stage: FederatedStage
    stage_name: str
    learner: Learner
    weights: Sequence[float]
    streams: RandomStreams
    evaluate: Callable[[int, Memory], Mapping[str, float]]
    advance: Callable[[], None]

    def run(
        self, history: History, initial: Sequence[State], synchronised: Sequence[str], checkpoint: Checkpoint
    ) -> Memory:
        """Compute all steps; goes on from a checkpoint, if there is one.

        Parameters
        ----------
        history : History
        initial : sequence of State
            Each client's model at the start; their synchronised parts are equal.
        synchronised : sequence of str
            Names of the tensors that move; the others stay with the client.
        checkpoint : Checkpoint
            Where each step is kept.
        """
        device = next(iter(initial[0].values())).device
        done, tensors = checkpoint.load()
        memory = self._begin(initial, synchronised) if tensors is None else Memory.of(tensors, device)
        aggregation = Aggregation(self.stage, self.stage_name, self.weights, self.streams, self._frozen)
        cohorts = history.works_from()
        arrives = {arrival.work: version for version, step in enumerate(history.steps) for arrival in step.arrivals}
        for version in range(done, len(history.steps)):
            step = history.steps[version]
            for reporter in step.reports:  # before anybody trains
                state = {**memory.model(SERVER), **memory.own(reporter)}
                report = self.learner.report(Work(reporter, version, version), state)
                memory.known.setdefault(SERVER, {})[str(reporter)] = report
            for cohort in _cohorts(history.works, cohorts[version]):
                self._train(history, version, cohort, step, memory, arrives)
            aggregation.take(history, version, memory)
            for arrival in step.arrivals:
                memory.end_work(history.works[arrival.work].client, arrival.work)
            for metric, value in self.evaluate(version, memory).items():
                memory.curves.setdefault(metric, {})[str(version)] = _scalar(value)
            checkpoint.save(version + 1, memory.tensors())
            self.advance()
        return memory

    def _begin(self, initial: Sequence[State], synchronised: Sequence[str]) -> Memory:
        import torch

        # copies, since the tensors given may be a live module's; sorted, as a checkpoint gives them back
        shared = {name: initial[0][name].clone() for name in sorted(synchronised)}
        personal = {
            str(i): {name: state[name].clone() for name in sorted(state) if name not in shared}
            for i, state in enumerate(initial)
        }
        holders = [SERVER] if self.stage.protocol.has_server else list(personal)
        memory = Memory(dict.fromkeys(holders, shared), personal)
        if self.stage.local_update.has_variates:
            moving = {name: tensor for name, tensor in shared.items() if name not in self._frozen}
            memory.variates = {
                holder: {name: torch.zeros_like(tensor) for name, tensor in moving.items()}
                for holder in (SERVER, *personal)
            }
        return memory

    @cached_property
    def _frozen(self) -> frozenset[str]:
        return frozenset(self.learner.frozen())

    def _holder(self, client: int) -> str:
        return SERVER if self.stage.protocol.has_server else str(client)

    # --- local training --------------------------------------------------------------------------------

    def _train(
        self,
        history: History,
        version: int,
        cohort: Sequence[int],
        step: Step,
        memory: Memory,
        arrives: Mapping[int, int],
    ) -> None:
        """Let clients, each of them once, report and train from this version.

        ``arrives`` tells the step that each update is in, if it is in any.
        """
        works = [history.works[position] for position in cohort]
        for work in works:  # who begins again is through with what it did before
            for before in [int(key) for key in memory.own_under_way if history.works[int(key)].client == work.client]:
                memory.end_work(work.client, before)
        received = [memory.model(self._holder(work.client)) for work in works]
        states = [{**shared, **memory.own(work.client)} for shared, work in zip(received, works, strict=True)]
        known = [by_number(memory.known.get(self._holder(work.client), {})) for work in works]
        if self.learner.reports and not step.reports:  # they travel with the updates
            for position, work, state in zip(cohort, works, states, strict=True):
                if not self.stage.protocol.has_server:
                    memory.reports[str(work.client)] = {"report": self.learner.report(work, state)}
                elif position in arrives:
                    memory.reports[str(position)] = {"report": self.learner.report(work, state)}
        update = self.stage.local_update
        offsets = None
        if update.has_variates:
            offsets = [update.offset(memory.variates[SERVER], memory.variates[str(work.client)]) for work in works]
        proximal = {name: update.proximal for name in received[0] if update.proximal and name not in self._frozen}
        trained = self.learner.train(works, states, proximal=proximal, offsets=offsets, known=known)
        for position, work, start, state, loss in zip(
            cohort, works, received, trained.states, trained.losses.tolist(), strict=True
        ):
            client, key = str(work.client), str(position)
            memory.losses[key] = _scalar(loss)
            memory.keep_own(work.client, state, position if arrives.get(position, version) > version else None)
            shared = {name: state[name] for name in start}
            if update.has_variates and position in arrives:
                memory.new_variates[key] = update.new_variate(
                    memory.variates[SERVER],
                    memory.variates[client],
                    start,
                    shared,
                    self.learner.num_steps(work),
                    self.stage.optimizer.lr * self.stage.optimizer.lr_scale(version, self.stage.rounds),
                )
            if not self.stage.protocol.has_server:
                memory.models[client] = shared
                continue
            arriving = self._sent(work, start, shared, memory)
            if position in arrives:
                memory.trained[key] = arriving
                memory.bases[str(version)] = start

    def _sent(self, work: Work, start: State, shared: State, memory: Memory) -> State:
        """Return the model as its receiver will see it, after clipping and compression."""
        compression, privacy = self.stage.compression, self.stage.privacy
        if compression.kind == "none" and privacy.kind == "none":
            return shared
        from nmoe_sim.nmoe.cohort import minus
        from nmoe_sim.nmoe.randomness import torch_generator

        update = privacy.clip(minus(shared, start))
        draws = torch_generator(self.streams, f"compression/{self.stage_name}", work.client, work.counter)
        decoded, residual = checked_pair(
            compression.compress(update, memory.residuals.get(str(work.client)), draws),
            update,
            f"training.{self.stage_name}: compression '{compression.kind}': compress",
        )
        if residual is not None:
            memory.residuals[str(work.client)] = residual
        return {name: start[name] + decoded[name] for name in start}


def _cohorts(works: Sequence[Work], positions: Sequence[int]) -> list[list[int]]:
    """Return works that can be computed at once: a client's next begins with what its last one left of its own."""
    cohorts: list[list[int]] = []
    num_before: Counter[int] = Counter()
    for position in positions:
        client = works[position].client
        if num_before[client] == len(cohorts):
            cohorts.append([])
        cohorts[num_before[client]].append(position)
        num_before[client] += 1
    return cohorts


def _scalar(value: float) -> torch.Tensor:
    import torch

    return torch.tensor(value, dtype=torch.float64)
