"""Steps of an optimiser for many clients at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

import torch

from nmoe_sim.nmoe.cohort import State
from nmoe_sim.nmoe.optimizer import ADAM_BETA_2, ADAM_EPSILON, Optimizer

_NORM_GUARD = 1e-6  # of torch.nn.utils.clip_grad_norm_


def clipped(gradients: Mapping[str, torch.Tensor], clip_norm: float) -> State:
    """Scale each client's gradient down to the norm, as ``torch.nn.utils.clip_grad_norm_`` does."""
    squares = [g.flatten(1).square().sum(dim=1) for g in gradients.values()]
    norm_A = reduce(torch.add, squares).sqrt()  # one after the other: the order torch.sum takes depends on A
    clip_A = (clip_norm / (norm_A + _NORM_GUARD)).clamp_max(1.0)
    return {name: g * clip_A.reshape(-1, *[1] * (g.dim() - 1)) for name, g in gradients.items()}


class StackedStepper:
    """``Optimizer.stepper`` for stacked states: moves the first so many clients.

    Clients move from step 0 on until their batches end, so that a step's number is the client's own.
    """

    def __init__(self, optimizer: Optimizer, lr_scale: float, state: State) -> None:
        self._optimizer = optimizer
        self._lr = optimizer.lr * lr_scale
        is_adam = optimizer.method == "adam"
        moves_on = is_adam or optimizer.momentum
        self._first = {name: torch.zeros_like(tensor) for name, tensor in state.items()} if moves_on else {}
        self._second = {name: torch.zeros_like(tensor) for name, tensor in state.items()} if is_adam else {}

    def step(self, state: State, gradients: Mapping[str, torch.Tensor], number: int) -> None:
        """Move the clients that have a gradient, in place; ``number`` counts steps from 0."""
        for name, gradient in gradients.items():
            active = len(gradient)
            weight = state[name][:active]
            if self._optimizer.weight_decay:
                gradient = gradient + self._optimizer.weight_decay * weight
            if self._second:
                self._adam(name, weight, gradient, number + 1)
            elif self._optimizer.momentum:
                speed = self._first[name][:active].mul_(self._optimizer.momentum).add_(gradient)
                weight.sub_(speed, alpha=self._lr)
            else:
                weight.sub_(gradient, alpha=self._lr)

    def _adam(self, name: str, weight: torch.Tensor, gradient: torch.Tensor, count: int) -> None:
        beta_1, active = self._optimizer.momentum, len(gradient)
        first = self._first[name][:active].lerp_(gradient, 1 - beta_1)
        second = self._second[name][:active].mul_(ADAM_BETA_2).addcmul_(gradient, gradient, value=1 - ADAM_BETA_2)
        scale = second.sqrt().div_(math.sqrt(1 - ADAM_BETA_2**count)).add_(ADAM_EPSILON)
        weight.addcdiv_(first, scale, value=-self._lr / (1 - beta_1**count))
