"""Early stopping: each client keeps its best weights, and stops when it hasn't found better ones for a while."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.cohort import State, Trained
from nmoe_sim.nmoe.losses import cross_entropy
from nmoe_sim.nmoe.stacked import StackedBatch


class EarlyStopping:
    """Watches the training of a cohort of classifiers (Prechelt 1998, the simplest of his criteria).

    After each of its epochs a client's cross-entropy on its validation samples is measured. A client is through
    ``patience`` epochs after its lowest one; its weights are then those of that epoch. Equal losses count as the
    earlier. A client without validation samples makes all its epochs and keeps its last weights.

    Parameters
    ----------
    template : nn.Module
        Architecture; left as it is.
    patience : int
        Epochs without a lower loss.
    steps : sequence of int
        Steps of an epoch of each client.
    inputs : sequence of Tensor
        Inputs of each client's validation samples (n_i, ...).
    labels : sequence of Tensor
        Their labels (n_i,).

    Attributes
    ----------
    epochs : ndarray of int64, shape (N,)
        Epochs that each client made.
    """

    def __init__(
        self,
        template: nn.Module,
        patience: int,
        steps: Sequence[int],
        inputs: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> None:
        num_clients = len(steps)
        self._template = template
        self._patience = patience
        self._steps = steps
        self._inputs = inputs
        self._labels = labels
        self._lowest = np.full(num_clients, np.inf)
        self._best_epoch = np.zeros(num_clients, np.int64)
        self._best: dict[int, State] = {}
        self._is_through = np.zeros(num_clients, bool)
        self._total = np.zeros((2, num_clients))
        self.epochs: NDArray[np.int64] = np.zeros(num_clients, np.int64)

    def outcome(self, last: Trained) -> Trained:
        """Return each client's best weights and mean loss until it was through, given what training ended with."""
        total, seen = self._total
        with np.errstate(invalid="ignore"):
            losses = total / seen
        return Trained([self._best.get(client, state) for client, state in enumerate(last.states)], losses)

    def after_stacked(self, batch: StackedBatch, states: State, losses_A: Tensor) -> bool:
        """Look at a step of ``stacked.train_stacked``; returns whether its clients are through."""
        counts = batch.mask_AB.sum(dim=1).tolist()
        for i, (client, loss, count) in enumerate(
            zip(batch.clients_A.tolist(), losses_A.tolist(), counts, strict=True)
        ):
            self._after(client, batch.step, {name: tensor[i] for name, tensor in states.items()}, loss * count, count)
        return bool(self._is_through[batch.clients_A.cpu().numpy()].all())

    def after_module(self, client: int, step: int, module: nn.Module, loss: float, count: int) -> bool:
        """Look at a step of ``cohort.train_modules``; returns whether the client is through."""
        self._after(client, step, module.state_dict(), loss * count, count)
        return bool(self._is_through[client])

    def _after(self, client: int, step: int, state: State, total: float, count: int) -> None:
        if self._is_through[client]:
            return
        self._total[:, client] += total, count
        if (step + 1) % self._steps[client]:
            return
        self.epochs[client] += 1
        if not len(self._labels[client]):
            return
        loss = self._validation_loss(client, state)
        if loss < self._lowest[client]:
            self._lowest[client], self._best_epoch[client] = loss, self.epochs[client]
            self._best[client] = {name: tensor.detach().clone() for name, tensor in state.items()}
        self._is_through[client] = self.epochs[client] - self._best_epoch[client] >= self._patience

    @torch.no_grad()
    def _validation_loss(self, client: int, state: State) -> float:
        module = copy.deepcopy(self._template).eval()
        module.load_state_dict(state)
        return cross_entropy(module(self._inputs[client]), self._labels[client]).mean().item()
