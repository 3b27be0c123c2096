"""Local training of many small heads at once: one batched step moves all clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from nmoe_sim.nmoe.cohort import State, check_offsets
from nmoe_sim.nmoe.modules import Gate
from nmoe_sim.nmoe.optimizer import ADAM_BETA_2, ADAM_EPSILON, Optimizer
from nmoe_sim.nmoe.threads import one_thread

_ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity)
_NORM_GUARD = 1e-6  # of torch.nn.utils.clip_grad_norm_


def stacked_forward(module: nn.Module, stacked: Mapping[str, Tensor], x_ABD: Tensor) -> Tensor:
    """Apply a module with a state for each client.

    Linear layers become one batched product; modules without a rule here go through ``torch.func.vmap``.

    Parameters
    ----------
    module : nn.Module
        Architecture; its own weights aren't used.
    stacked : State
        Parameters with a first axis over clients.
    x_ABD : Tensor
        Inputs of each client.

    Returns
    -------
    Tensor, shape (A, B, ...)
        Outputs of each client.
    """
    if isinstance(module, nn.Linear):
        weight_ADF = stacked["weight"].transpose(1, 2)
        if module.bias is None:
            return torch.bmm(x_ABD, weight_ADF)
        return torch.baddbmm(stacked["bias"].unsqueeze(1), x_ABD, weight_ADF)
    if isinstance(module, _ELEMENTWISE):
        out: Tensor = module(x_ABD)
        return out
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            x_ABD = stacked_forward(child, _within(stacked, name), x_ABD)
        return x_ABD
    if isinstance(module, Gate):
        shared = stacked_forward(module.shared, _within(stacked, "shared"), x_ABD)
        return module.add(shared, stacked_forward(module.local, _within(stacked, "local"), x_ABD))
    mapped: Tensor
    if stacked:
        mapped = vmap(lambda state, x_BD: functional_call(module, state, (x_BD,)))(dict(stacked), x_ABD)
    else:
        mapped = vmap(module)(x_ABD)
    return mapped


def _within(stacked: Mapping[str, Tensor], name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in stacked.items() if key.startswith(prefix)}


@dataclass(frozen=True)
class HeadBatch:
    """One step of a cohort, as its loss sees it.

    Parameters
    ----------
    step : int
        Step, from 0.
    clients_A : Tensor of int64
        Clients that move in this step.
    index_AB : Tensor of int64
        Positions among each client's own samples; 0 where padded.
    rows_AB : Tensor of int64
        The same positions in the concatenation of all clients' samples, in client order: index a
        concatenated table of labels or expert outputs with it.
    mask_AB : Tensor of bool
        False where padded.
    """

    step: int
    clients_A: Tensor
    index_AB: Tensor
    rows_AB: Tensor
    mask_AB: Tensor


HeadLoss = Callable[[Tensor, HeadBatch], Tensor]
"""loss(out_ABC, batch) → loss_A: each client's mean over the samples of ``batch.mask_AB``."""


@one_thread()
def train_heads(
    template: nn.Module,
    stacked: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    loss: HeadLoss,
    optimizer: Optimizer,
    *,
    lr_scale: float = 1.0,
    proximal: float = 0.0,
    offsets: State | None = None,
) -> tuple[State, NDArray[np.float64]]:
    """Train the heads of all clients as one batched cohort.

    Equal to ``train_modules`` up to the order of sums. At each step the clients that still have
    a batch move; the others keep their weights, without momentum or decay. Client i makes ``len(plans[i])`` steps.

    Parameters
    ----------
    template : nn.Module
        Architecture of a head, without buffers; left as it is.
    stacked : State
        Where the clients start, as of ``stack``; left as it is.
    inputs : sequence of Tensor
        Features of each client's samples, shape (n_i, D).
    plans : sequence of sequence of ndarray
        Batches of each client, as of ``batches``.
    loss : callable
        See ``HeadLoss``.
    optimizer : Optimizer
        Step rule; ``batch_size`` and ``epochs`` are already in the plans.
    lr_scale : float
        Factor on the learning rate, as of ``Optimizer.lr_scale``.
    proximal : float
        μ, weight of the pull towards where each client starts; as of ``train_modules``.
    offsets : State, optional
        What is added to each client's gradients, stacked, as of ``train_modules``.

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
    sorted_plans = [plans[client] for client in order]
    table = torch.cat(list(inputs))
    order_N = torch.from_numpy(order).to(table.device)
    state = {name: tensor.detach()[order_N] for name, tensor in stacked.items()}
    start = {name: tensor.clone() for name, tensor in state.items()} if proximal else {}
    shifts = {} if offsets is None else {name: tensor[order_N] for name, tensor in offsets.items()}
    stepper = _Stepper(optimizer, lr_scale, state)
    total_N = torch.zeros(len(plans), dtype=torch.float64, device=table.device)

    for batch in _steps(order, sorted_plans, [len(x) for x in inputs], table.device):
        active = len(batch.clients_A)
        moving = {name: tensor[:active].detach().requires_grad_() for name, tensor in state.items()}
        losses_A = loss(stacked_forward(template, moving, table[batch.rows_AB]), batch)
        gradients = dict(zip(moving, torch.autograd.grad(losses_A.sum(), list(moving.values())), strict=True))
        if proximal:
            gradients = {n: g + proximal * (state[n][:active] - start[n][:active]) for n, g in gradients.items()}
        if optimizer.clip_norm is not None:
            gradients = _clipped(gradients, optimizer.clip_norm)
        for name, shift in shifts.items():
            gradients[name] = gradients[name] + shift[:active]
        stepper.step(state, gradients, batch.step)
        total_N[:active] += losses_A.detach().double() * batch.mask_AB.sum(dim=1)

    seen = np.array([sum(len(index) for index in plan) for plan in sorted_plans], dtype=np.float64)
    back = np.argsort(order)
    back_N = torch.from_numpy(back).to(table.device)
    with np.errstate(invalid="ignore"):
        mean = total_N.cpu().numpy() / seen
    return {name: tensor[back_N] for name, tensor in state.items()}, mean[back]


def _clipped(gradients: Mapping[str, Tensor], clip_norm: float) -> State:
    """Scale each client's gradient down to the norm, as ``torch.nn.utils.clip_grad_norm_`` does."""
    norm_A = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients.values()]).sum(dim=0).sqrt()
    clip_A = (clip_norm / (norm_A + _NORM_GUARD)).clamp_max(1.0)
    return {name: g * clip_A.reshape(-1, *[1] * (g.dim() - 1)) for name, g in gradients.items()}


class _Stepper:
    """``Optimizer.stepper`` for stacked states: moves the first so many clients.

    Clients move from step 0 on until their batches end, so that a step's number is the client's own.
    """

    def __init__(self, optimizer: Optimizer, lr_scale: float, state: State) -> None:
        self._optimizer = optimizer
        self._lr = optimizer.lr * lr_scale
        self._first = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
        is_adam = optimizer.method == "adam"
        self._second = {name: torch.zeros_like(tensor) for name, tensor in state.items()} if is_adam else {}

    def step(self, state: State, gradients: Mapping[str, Tensor], number: int) -> None:
        """Move the clients that have a gradient, in place; ``number`` counts steps from 0."""
        for name, gradient in gradients.items():
            active = len(gradient)
            weight = state[name][:active]
            if self._optimizer.weight_decay:
                gradient = gradient + self._optimizer.weight_decay * weight
            if self._second:
                self._adam(name, weight, gradient, number + 1)
            else:
                speed = self._first[name][:active].mul_(self._optimizer.momentum).add_(gradient)
                weight.sub_(speed, alpha=self._lr)

    def _adam(self, name: str, weight: Tensor, gradient: Tensor, count: int) -> None:
        beta_1, active = self._optimizer.momentum, len(gradient)
        first = self._first[name][:active].lerp_(gradient, 1 - beta_1)
        second = self._second[name][:active].mul_(ADAM_BETA_2).addcmul_(gradient, gradient, value=1 - ADAM_BETA_2)
        scale = second.sqrt().div_(math.sqrt(1 - ADAM_BETA_2**count)).add_(ADAM_EPSILON)
        weight.addcdiv_(first, scale, value=-self._lr / (1 - beta_1**count))


def _steps(
    order: NDArray[np.int64],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    sizes: Sequence[int],
    device: torch.device,
) -> list[HeadBatch]:
    starts = (np.cumsum(sizes) - sizes)[order]
    steps = []
    for step in range(len(plans[0])):
        current = [plan[step] for plan in plans if step < len(plan)]
        widths = np.array([len(index) for index in current])
        mask = np.arange(widths.max()) < widths[:, None]
        index = np.zeros(mask.shape, dtype=np.int64)
        index[mask] = np.concatenate(current)
        rows = index + starts[: len(current), None]
        arrays = (order[: len(current)], index, rows, mask)
        steps.append(HeadBatch(step, *(torch.from_numpy(array).to(device) for array in arrays)))
    return steps
