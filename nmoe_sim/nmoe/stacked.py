"""Local training of many small models at once: one batched step moves all clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.cohort import State, check_offsets
from nmoe_sim.nmoe.losses import cross_entropy, masked_mean
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.precision import products_in
from nmoe_sim.nmoe.stacked_forward import stacked_forward
from nmoe_sim.nmoe.stacked_steps import StackedStepper, clipped
from nmoe_sim.nmoe.threads import one_thread, side_by_side

_STEPS_AHEAD = 16
"""Steps whose batches are laid out at once; clients with fewer steps are padded to it."""


@dataclass(frozen=True)
class StackedBatch:
    """One step of a cohort, as its loss sees it.

    Parameters
    ----------
    step : int
        Step, from 0.
    clients_A : Tensor of int64
        Clients that move in this step.
    rows_AB : Tensor of int64
        Positions in the concatenation of all clients' samples, in client order: index a concatenated table of
        labels or expert outputs with it. Where padded, the client's first.
    mask_AB : Tensor of bool
        False where padded.
    """

    step: int
    clients_A: Tensor
    rows_AB: Tensor
    mask_AB: Tensor


StackedLoss = Callable[[Tensor, StackedBatch], Tensor]
"""loss(out_ABC, batch) → loss_A: each client's mean over the samples of ``batch.mask_AB``."""

AfterStacked = Callable[[StackedBatch, State, Tensor], bool]
"""after(batch, states, loss_A) → whether these clients are through: called after each step, with their states,
stacked, which must be copied to be kept."""


def of_labels(labels: Sequence[Tensor], loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy) -> StackedLoss:
    """Return the loss of a cohort by its samples' labels: each client's mean over its batch.

    Parameters
    ----------
    labels : sequence of Tensor of int64
        Each client's.
    loss : callable
        loss(logits_ABC, labels_AB) → values_AB.
    """
    labels_R = torch.cat(list(labels)) if labels else torch.empty(0, dtype=torch.int64)

    def mean(out_ABC: Tensor, batch: StackedBatch) -> Tensor:
        return masked_mean(loss(out_ABC, labels_R[batch.rows_AB]), batch.mask_AB)

    return mean


@one_thread()
def train_stacked(
    template: nn.Module,
    stacked: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    loss: StackedLoss,
    optimizer: Optimizer,
    *,
    lr_scale: float = 1.0,
    proximal: Mapping[str, float] | None = None,
    offsets: State | None = None,
    block_size: int | None = None,
    workers: int = 1,
    after: AfterStacked | None = None,
) -> tuple[State, NDArray[np.float64]]:
    """Train the models of all clients as one batched cohort.

    Equal to ``train_modules`` up to the order of sums. At each step the clients that still have
    a batch move; the others keep their weights, without momentum or decay. Client i makes ``len(plans[i])`` steps.

    Parameters
    ----------
    template : nn.Module
        Architecture, without buffers; left as it is.
    stacked : State
        Where the clients start, as of ``stack``; left as it is.
    inputs : sequence of Tensor
        Each client's samples, shape (n_i, ...); usually features (n_i, D).
    plans : sequence of sequence of ndarray
        Batches of each client, as of ``batches``.
    loss : callable
        See ``StackedLoss``.
    optimizer : Optimizer
        Step rule; ``batch_size`` and ``epochs`` are already in the plans.
    lr_scale : float
        Factor on the learning rate, as of ``Optimizer.lr_scale``.
    proximal : mapping of str to float, optional
        μ, weight of the pull towards where each client starts; as of ``train_modules``.
    offsets : State, optional
        What is added to each client's gradients, stacked, as of ``train_modules``.
    block_size : int, optional
        Clients that are stacked; more are computed block by block. All by default. Values depend on it by rounding:
        vector units round a tensor's last elements otherwise.
    workers : int
        Threads that compute blocks side by side. The result is the same bits for any number.
    after : callable, optional
        See ``AfterStacked``; a block ends when all its clients are through.

    Returns
    -------
    stacked : State
        State of each client afterwards.
    losses : ndarray of float64, shape (N,)
        Mean loss over all samples seen, before each step; NaN for a client without a step.
    """
    if any(True for _ in template.buffers()):
        raise ValueError("a head with buffers can't be stacked; train it with train_modules")
    if offsets is not None:
        check_offsets(template, [offsets])
    # by falling number of steps: the clients that move are always the first so many
    order = np.argsort([-len(plan) for plan in plans], kind="stable")
    layout = _Layout.of(plans, [len(x) for x in inputs])
    size = block_size or len(plans)
    blocks = [order[begin : begin + size] for begin in range(0, len(plans), size)]

    def train_block(clients: NDArray[np.int64]) -> tuple[State, NDArray[np.float64]]:
        clients_N = torch.from_numpy(clients).to(inputs[0].device)
        shifts = {} if offsets is None else {name: tensor[clients_N] for name, tensor in offsets.items()}
        state = {name: tensor.detach()[clients_N] for name, tensor in stacked.items()}
        block = _Block(template, state, shifts, optimizer, lr_scale, proximal)
        table = torch.cat([inputs[client] for client in clients])
        return state, block.train(table, layout.batches(clients, table.device), loss, after)

    states, means = zip(*side_by_side(train_block, blocks, workers), strict=True)
    back = np.argsort(order)
    back_N = torch.from_numpy(back).to(inputs[0].device)
    final = {name: torch.cat([state[name] for state in states])[back_N] for name in states[0]}
    return final, np.concatenate(means)[back]


class _Block:
    """Clients that are computed together, by falling number of steps; ``state`` moves as they train."""

    def __init__(
        self,
        template: nn.Module,
        state: State,
        shifts: State,
        optimizer: Optimizer,
        lr_scale: float,
        proximal: Mapping[str, float] | None,
    ) -> None:
        self.state = state
        self._forward = stacked_forward(template)
        self._shifts = shifts
        self._optimizer = optimizer
        self._proximal = proximal or {}
        self._start = {name: state[name].clone() for name in self._proximal}
        self._stepper = StackedStepper(optimizer, lr_scale, state)

    def train(
        self,
        table: Tensor,
        batches: Iterable[tuple[StackedBatch, Tensor, NDArray[np.int64]]],
        loss: StackedLoss,
        after: AfterStacked | None = None,
    ) -> NDArray[np.float64]:
        """Take all steps; returns each client's mean loss.

        A batch comes with its rows in ``table`` and how many they are.
        """
        losses: list[Tensor] = []
        sizes: list[NDArray[np.int64]] = []
        moving: State = {}
        for batch, rows_AB, sizes_A in batches:
            active = len(sizes_A)
            if not sizes or active < len(sizes[-1]):  # they share their memory with the state, and move with it
                moving = {name: tensor[:active].detach().requires_grad_() for name, tensor in self.state.items()}
            # several times faster than table[rows_AB]
            x_ABD = table.index_select(0, rows_AB.flatten()).view(*rows_AB.shape, *table.shape[1:])
            losses_A, gradients = self._gradients(moving, x_ABD, batch, loss)
            self._stepper.step(self.state, gradients, batch.step)
            losses.append(losses_A)
            sizes.append(sizes_A)
            if after is not None and after(batch, {n: t[:active] for n, t in self.state.items()}, losses_A):
                break
        return _mean_losses(len(next(iter(self.state.values()))), losses, sizes)

    def _gradients(
        self, moving: Mapping[str, Tensor], x_ABD: Tensor, batch: StackedBatch, loss: StackedLoss
    ) -> tuple[Tensor, State]:
        """Return the losses of the first clients, whose states are given, and what they step along."""
        active = len(batch.clients_A)
        with products_in(self._optimizer.precision, x_ABD.device):
            out_ABC = self._forward(moving, x_ABD)
        losses_A = loss(out_ABC.to(x_ABD.dtype), batch)
        # zero where the loss doesn't see a parameter, such as a gate's channel part on perfect channels
        found = torch.autograd.grad(losses_A, list(moving.values()), torch.ones_like(losses_A), materialize_grads=True)
        gradients = dict(zip(moving, found, strict=True))
        for name, mu in self._proximal.items():
            gradients[name] = gradients[name] + mu * (self.state[name][:active] - self._start[name][:active])
        if self._optimizer.clip_norm is not None:
            gradients = clipped(gradients, self._optimizer.clip_norm)
        for name, shift in self._shifts.items():
            gradients[name] = gradients[name] + shift[:active]
        return losses_A.detach(), gradients


def _mean_losses(num_clients: int, losses: Sequence[Tensor], sizes: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return each client's mean over all samples; each step is of the first so many clients."""
    total, seen = np.zeros((2, num_clients))
    if losses:
        # read once: a GPU needn't wait after each step
        values = torch.cat(list(losses)).cpu().numpy().astype(np.float64)
        for values_A, sizes_A in zip(np.split(values, np.cumsum([len(s) for s in sizes])[:-1]), sizes, strict=True):
            total[: len(sizes_A)] += values_A * sizes_A
            seen[: len(sizes_A)] += sizes_A
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = total / seen  # 0/0 is NaN
    return mean


@dataclass(frozen=True)
class _Layout:
    """Where each client's batches lie: in its own samples and in those of all."""

    plans: Sequence[Sequence[NDArray[np.int64]]]
    sizes: NDArray[np.int64]
    """Samples of each client."""
    starts: NDArray[np.int64]
    """Where they begin in the concatenation of all."""
    widths: list[int]
    """The largest batch of any client, by step: what batches are padded to, whoever is computed together."""

    @classmethod
    def of(cls, plans: Sequence[Sequence[NDArray[np.int64]]], num_samples: Sequence[int]) -> _Layout:
        sizes = np.array(num_samples, dtype=np.int64)
        num_steps = max(len(plan) for plan in plans)
        widths = [max(len(plan[step]) for plan in plans if step < len(plan)) for step in range(num_steps)]
        return cls(plans, sizes, np.cumsum(sizes) - sizes, widths)

    def batches(
        self, clients: NDArray[np.int64], device: torch.device
    ) -> Iterator[tuple[StackedBatch, Tensor, NDArray[np.int64]]]:
        """Give the steps of some clients, each with its rows in the concatenation of *their* samples, and how many."""
        among = np.cumsum(self.sizes[clients]) - self.sizes[clients]
        plans = [self.plans[client] for client in clients]
        for first in range(0, len(plans[0]), _STEPS_AHEAD):
            ahead = [plan[first : first + _STEPS_AHEAD] for plan in plans]
            widths = self.widths[first : first + len(ahead[0])]
            sizes_AS = np.array([[len(index) for index in plan] + [0] * (len(widths) - len(plan)) for plan in ahead])
            mask_ASB = np.arange(max(widths)) < sizes_AS[..., None]
            index_ASB = np.zeros(mask_ASB.shape, dtype=np.int64)
            index_ASB[mask_ASB] = np.concatenate([index for plan in ahead for index in plan])
            rows_ASB, among_ASB = (index_ASB + start_A[:, None, None] for start_A in (self.starts[clients], among))
            arrays = (clients, rows_ASB, mask_ASB, among_ASB)
            clients_A, *tables = (torch.from_numpy(array).to(device) for array in arrays)
            for s, width in enumerate(widths):
                moving = sum(len(plan) > s for plan in ahead)
                rows_AB, mask_AB, among_AB = (table[:moving, s, :width] for table in tables)
                batch = StackedBatch(first + s, clients_A[:moving], rows_AB, mask_AB)
                yield batch, among_AB, sizes_AS[:moving, s]
