"""How the updates of a step make the next version of the model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmoe_sim.rng import RandomStreams
from nmoe_sim.training.federation.contracts import checked_pair
from nmoe_sim.training.federation.history import History, Step
from nmoe_sim.training.federation.memory import SERVER, Memory

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.training.federation.stage import FederatedStage


@dataclass
class Aggregation:
    """Takes steps; see ``history.Rule`` for what each rule computes.

    Clients count by their samples; with control variates (SCAFFOLD) alike, as in its paper, since the variates do.
    With privacy a step is x + (Σ scale_i Δ_i + noise) / m, where m is the number of clients that the
    selection takes (expected, where that is random): who came or stayed away doesn't show in it. Noise
    comes also where nobody's update did.

    Parameters
    ----------
    stage : FederatedStage
        Settings.
    stage_name : str
        Names the draws.
    weights : sequence of float
        Each client's share of the training samples.
    streams : RandomStreams
    frozen : collection of str
        Names of tensors that no training moves; noise doesn't either.
    """

    stage: FederatedStage
    stage_name: str
    weights: Sequence[float]
    streams: RandomStreams
    frozen: Collection[str] = ()

    def take(self, history: History, version: int, memory: Memory) -> None:
        """Make the next models."""
        step = history.steps[version]
        if step.rule == "gossip":
            _mix(step, memory)
        elif step.arrivals or self.stage.privacy.equal_weights:
            self._aggregate(history, version, step, memory)
            self._settle(history, step, memory)

    def _aggregate(self, history: History, version: int, step: Step, memory: Memory) -> None:
        from nmoe_sim.nmoe.cohort import average, minus, plus

        current = memory.model(SERVER)
        works = [history.works[arrival.work] for arrival in step.arrivals]
        arrived = [memory.trained[str(arrival.work)] for arrival in step.arrivals]
        bases = [memory.bases[str(work.base)] for work in works]
        scales = [arrival.scale for arrival in step.arrivals]
        if self.stage.privacy.equal_weights:
            updates = [minus(a, b) for a, b in zip(arrived, bases, strict=True)]
            mean = self._private(version, current, updates, scales, step.expected)
        elif step.rule == "average":
            alike = self.stage.local_update.has_variates
            weights = [1.0 if alike else self.weights[work.client] for work in works]
            shares = np.array([scale * weight for scale, weight in zip(scales, weights, strict=True)])
            if all(work.base == version for work in works):
                mean = average(arrived, shares.tolist())
            else:
                mean = plus(current, arrived, bases, (shares / shares.sum()).tolist())
        else:
            mean = plus(current, arrived, [current] * len(arrived) if step.rule == "mix" else bases, scales)
        server_update = self.stage.server_update
        moved, kept = checked_pair(
            server_update.step(current, mean, memory.server),
            mean,
            f"training.{self.stage_name}: server_update '{server_update.kind}': step",
        )
        memory.models[SERVER], memory.server = moved, kept or {}

    def _private(
        self, version: int, current: State, updates: Sequence[State], scales: Sequence[float], num_expected: int
    ) -> State:
        """Return the model that hides who took part."""
        import torch

        from nmoe_sim.nmoe.cohort import plus
        from nmoe_sim.nmoe.randomness import torch_generator

        privacy = self.stage.privacy
        zero = {name: torch.zeros_like(tensor) for name, tensor in current.items()}
        # clipped once more: what compression decodes may be longer, and so may a difference of rounded models
        clipped = [privacy.clip(update) for update in updates]
        mean = plus(zero, clipped, [zero] * len(clipped), [scale / num_expected for scale in scales])
        draws = torch_generator(self.streams, f"privacy/{self.stage_name}", version)
        noisy = privacy.noise(mean, num_expected, draws)
        return {name: tensor if name in self.frozen else tensor + noisy[name] for name, tensor in current.items()}

    def _settle(self, history: History, step: Step, memory: Memory) -> None:
        """Take in what travelled with the updates, and forget them."""
        from nmoe_sim.nmoe.local_update import new_server_variate

        for arrival in step.arrivals:
            client, key = str(history.works[arrival.work].client), str(arrival.work)
            if key in memory.reports:
                memory.known.setdefault(SERVER, {})[client] = memory.reports[key]["report"]
            if key in memory.new_variates:
                before, after = memory.variates[client], memory.new_variates[key]
                memory.variates[SERVER] = new_server_variate(
                    memory.variates[SERVER], [before], [after], len(self.weights)
                )
                memory.variates[client] = after
            memory.forget(arrival.work)
        needed = {str(history.works[int(position)].base) for position in memory.trained}
        memory.bases = {version: state for version, state in memory.bases.items() if version in needed}


def _mix(step: Step, memory: Memory) -> None:
    """Make the clients' next models, and tell them their neighbours' reports."""
    from nmoe_sim.nmoe.cohort import plus

    before = dict(memory.models)
    for client, own in before.items():
        mixes = [mix for mix in step.mixes if str(mix.receiver) == client]
        others, weights = [before[str(mix.sender)] for mix in mixes], [mix.weight for mix in mixes]
        memory.models[client] = plus(own, others, [own] * len(others), weights)
        for mix in mixes:
            if (report := memory.reports.get(str(mix.sender))) is not None:
                memory.known.setdefault(client, {})[str(mix.sender)] = report["report"]
