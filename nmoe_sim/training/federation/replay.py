"""From a history to values: every version's cohort trains, then the version's step is taken.

Nothing here knows of time. All works that start from one version are computed as one cohort, in the
order of the history, whether or not their updates arrive: a client that trained has changed what it keeps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.history import History, Step, Work
from nmoe_sim.training.federation.memory import Memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State, Trained
    from nmoe_sim.nmoe.values import Checkpoint
    from nmoe_sim.training.federation.stage import FederatedStage

SERVER = "server"


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
        proximal: float,
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
        cohorts = history.works_from()
        pending = {arrival.work for step in history.steps[done:] for arrival in step.arrivals}
        for version in range(done, len(history.steps)):
            step = history.steps[version]
            if cohorts[version] or step.reports:
                self._train(history, version, cohorts[version], step, memory, pending)
            if step.rule == "gossip":
                self._mix(step, memory)
            elif step.arrivals:
                self._take_in(history, version, step, memory)
            for metric, value in self.evaluate(version, memory).items():
                memory.curves.setdefault(metric, {})[str(version)] = _scalar(value)
            self._drop_bases(history, memory)
            checkpoint.save(version + 1, memory.tensors())
            self.advance()
        return memory

    def _begin(self, initial: Sequence[State], synchronised: Sequence[str]) -> Memory:
        import torch

        shared = {name: initial[0][name] for name in synchronised}
        personal = {str(i): {n: t for n, t in state.items() if n not in shared} for i, state in enumerate(initial)}
        holders = [SERVER] if self.stage.protocol.has_server else list(personal)
        memory = Memory(dict.fromkeys(holders, shared), personal)
        if self.stage.local_update.has_variates:
            memory.variates = {
                holder: {name: torch.zeros_like(tensor) for name, tensor in shared.items()}
                for holder in (SERVER, *personal)
            }
        return memory

    def _holder(self, client: int) -> str:
        return SERVER if self.stage.protocol.has_server else str(client)

    # --- local training --------------------------------------------------------------------------------

    def _train(
        self, history: History, version: int, cohort: Sequence[int], step: Step, memory: Memory, pending: set[int]
    ) -> None:
        """Let everybody who starts from this version report and train."""
        works = [history.works[position] for position in cohort]
        received = [memory.model(self._holder(work.client)) for work in works]
        states = [{**shared, **memory.own(work.client)} for shared, work in zip(received, works, strict=True)]
        for reporter in step.reports:  # before anybody trains
            state = {**memory.model(SERVER), **memory.own(reporter)}
            report = self.learner.report(Work(reporter, version, version), state)
            memory.known.setdefault(SERVER, {})[str(reporter)] = report
        if not works:
            return
        known = [memory.known.get(self._holder(work.client), {}) for work in works]
        if self.learner.reports and not step.reports:  # they travel with the updates
            for position, work, state in zip(cohort, works, states, strict=True):
                place = position if self.stage.protocol.has_server else work.client
                memory.reports[str(place)] = {"report": self.learner.report(work, state)}
        update = self.stage.local_update
        offsets = None
        if update.has_variates:
            offsets = [update.offset(memory.variates[SERVER], memory.variates[str(work.client)]) for work in works]
        trained = self.learner.train(works, states, proximal=update.proximal, offsets=offsets, known=known)
        for position, work, start, state, loss in zip(
            cohort, works, received, trained.states, trained.losses.tolist(), strict=True
        ):
            client, key = str(work.client), str(position)
            memory.losses[key] = _scalar(loss)
            memory.keep_personal(client, state)
            shared = {name: state[name] for name in start}
            if update.has_variates:
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
            if position in pending:
                memory.trained[key] = arriving
                memory.bases[str(version)] = start

    def _sent(self, work: Work, start: State, shared: State, memory: Memory) -> State:
        """Return the model as its receiver will see it, after clipping and compression."""
        compression, privacy = self.stage.compression, self.stage.privacy
        if compression.kind == "none" and privacy.kind == "none":
            return shared
        from nmoe_sim.nmoe.randomness import torch_generator

        update = privacy.clip({name: shared[name] - start[name] for name in start})
        draws = torch_generator(self.streams, f"compression/{self.stage_name}", work.client, work.counter)
        decoded, residual = compression.compress(update, memory.residuals.get(str(work.client)), draws)
        if residual is not None:
            memory.residuals[str(work.client)] = residual
        decoded = privacy.clip(decoded)  # the server's own: what compression decodes may be longer
        return {name: start[name] + decoded[name] for name in start}

    # --- aggregation -----------------------------------------------------------------------------------

    def _take_in(self, history: History, version: int, step: Step, memory: Memory) -> None:
        """Make the server's next model."""
        current = memory.model(SERVER)
        works = [history.works[arrival.work] for arrival in step.arrivals]
        arrived = [memory.trained[str(arrival.work)] for arrival in step.arrivals]
        bases = [memory.bases[str(work.base)] for work in works]
        scales = [arrival.scale for arrival in step.arrivals]
        if step.rule == "average":
            equal = self.stage.privacy.equal_weights
            shares = [s * (1.0 if equal else self.weights[w.client]) for s, w in zip(scales, works, strict=True)]
            mean = self._average(version, current, arrived, bases, [w.base for w in works], shares)
        elif step.rule == "mix":
            mean = _plus(current, arrived, [current] * len(arrived), scales)
        else:
            mean = _plus(current, arrived, bases, scales)
        memory.models[SERVER], memory.server = self.stage.server_update.step(current, mean, memory.server)
        for arrival, work in zip(step.arrivals, works, strict=True):
            client, key = str(work.client), str(arrival.work)
            if key in memory.reports:
                memory.known.setdefault(SERVER, {})[client] = memory.reports[key]["report"]
            if key in memory.new_variates:
                share = 1.0 / len(self.weights)
                before, after = memory.variates[client], memory.new_variates[key]
                memory.variates[SERVER] = _plus(memory.variates[SERVER], [after], [before], [share])
                memory.variates[client] = after
            memory.forget(arrival.work)

    def _average(
        self,
        version: int,
        current: State,
        arrived: Sequence[State],
        bases: Sequence[State],
        versions: Sequence[int],
        shares: Sequence[float],
    ) -> State:
        from nmoe_sim.nmoe.cohort import average
        from nmoe_sim.nmoe.randomness import torch_generator

        privacy = self.stage.privacy
        if privacy.kind == "none" and all(base == version for base in versions):
            return average(arrived, shares)
        total = float(np.sum(shares))
        mean = _plus(current, arrived, bases, [share / total for share in shares])
        if privacy.kind == "none":
            return mean
        draws = torch_generator(self.streams, f"privacy/{self.stage_name}", version)
        update = {name: mean[name] - current[name] for name in current}
        noisy = privacy.noise(update, len(arrived), draws)
        return {name: current[name] + noisy[name] for name in current}

    def _mix(self, step: Step, memory: Memory) -> None:
        """Make the clients' next models, and tell them their neighbours' reports."""
        before = dict(memory.models)
        for client, own in before.items():
            mixes = [mix for mix in step.mixes if str(mix.receiver) == client]
            others, weights = [before[str(mix.sender)] for mix in mixes], [mix.weight for mix in mixes]
            memory.models[client] = _plus(own, others, [own] * len(others), weights)
            for mix in mixes:
                if (report := memory.reports.get(str(mix.sender))) is not None:
                    memory.known.setdefault(client, {})[str(mix.sender)] = report["report"]

    def _drop_bases(self, history: History, memory: Memory) -> None:
        needed = {str(history.works[int(position)].base) for position in memory.trained}
        memory.bases = {version: state for version, state in memory.bases.items() if version in needed}


def _plus(start: State, plus: Sequence[State], minus: Sequence[State], scales: Sequence[float]) -> State:
    """Return start + Σ scale · (plus − minus), summed in float64 in this order."""
    result: State = {}
    for name, tensor in start.items():
        total = tensor.double()
        for a, b, scale in zip(plus, minus, scales, strict=True):
            total = total + scale * (a[name].double() - b[name].double())
        result[name] = total.to(tensor.dtype)
    return result


def _scalar(value: float) -> torch.Tensor:
    import torch

    return torch.tensor(value, dtype=torch.float64)
