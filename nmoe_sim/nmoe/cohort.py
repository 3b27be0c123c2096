"""Local training of many clients, any module: a plain loop for each client, clients side by side.

A model's state is a mapping from parameter name to tensor; modules are templates that say how to
compute with it. For many small models ``stacked.train_stacked`` is much faster; ``strategy`` chooses.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.precision import compute_forward_in
from nmoe_sim.nmoe.threads import side_by_side

State = dict[str, Tensor]
"""Tensors of a module by name, as of ``module.state_dict()``."""

Loss = Callable[[nn.Module, int, Tensor, int], Tensor]
"""loss(module, client, index_B, step) → scalar: the mean over the client's samples ``index_B``."""

After = Callable[[int, int, nn.Module, float, int], bool]
"""after(client, step, module, loss, num_samples) → whether the client's training ends: called after each step."""


class Trained(NamedTuple):
    """What local training leaves.

    Attributes
    ----------
    states : list of State
        State of each client afterwards; detached.
    losses : ndarray of float64, shape (N,)
        Mean loss over all samples seen, before each step; NaN for a client without a step.
    """

    states: list[State]
    losses: NDArray[np.float64]


def batches(
    num_samples: int, *, batch_size: int | None, epochs: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Plan the batches of local training: each epoch a new permutation, its last batch may be small.

    Parameters
    ----------
    num_samples : int
        The client's samples; 0 gives no batch.
    batch_size : int or None
        Samples of a batch; None: all, in one batch an epoch.
    epochs : int
        Passes over the samples.
    rng : numpy.random.Generator
        Source of the permutations.

    Returns
    -------
    list of ndarray of int64
        Positions in 0..num_samples-1, one array a step.
    """
    size = num_samples if batch_size is None else batch_size
    orders = [rng.permutation(num_samples) for _ in range(epochs)]
    return [order[start : start + size] for order in orders for start in range(0, num_samples, size or 1)]


def train_modules(
    template: nn.Module,
    states: Sequence[State],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    loss: Loss,
    optimizer: Optimizer,
    *,
    lr_scale: float = 1.0,
    proximal: Mapping[str, float] | None = None,
    offsets: Sequence[State] | None = None,
    workers: int = 1,
    after: After | None = None,
) -> Trained:
    """Train a copy of the module at each client with ``torch.optim``, a client after the other or side by side.

    A step goes along clip(g + μ (w − w_start)) + offset, then weight decay: the proximal term is part of the
    client's objective (FedProx), an offset corrects what the client would do by itself (SCAFFOLD). Client i makes
    ``len(plans[i])`` steps.

    Parameters
    ----------
    template : nn.Module
        Architecture; left as it is.
    states : sequence of State
        Where each client starts.
    plans : sequence of sequence of ndarray
        Batches of each client, as of ``batches``.
    loss : callable
        See ``Loss``; called from several threads when ``workers`` > 1.
    optimizer : Optimizer
        Step rule; ``batch_size`` and ``epochs`` are already in the plans.
    lr_scale : float
        Factor on the learning rate, as of ``Optimizer.lr_scale``.
    proximal : mapping of str to float, optional
        μ, weight of the pull towards where each client starts.
    offsets : sequence of State, optional
        What is added to each client's gradients, by name; parameters that aren't named have none.
    workers : int
        Threads. The result is the same bits for any number.
    after : callable, optional
        See ``After``.

    Returns
    -------
    Trained
        State and loss of each client.
    """
    if offsets is not None:
        check_offsets(template, offsets)

    def train_client(client: int) -> tuple[State, float]:
        module = copy.deepcopy(template)
        module.load_state_dict(states[client])
        module.train()
        compute_forward_in(optimizer.precision, module)
        parameters = dict(module.named_parameters())
        stepper = optimizer.stepper(parameters.values(), lr_scale)
        values = []
        for step, index in enumerate(plans[client]):
            stepper.zero_grad()
            value = loss(module, client, torch.from_numpy(index), step)
            torch.autograd.backward(value)
            if proximal:
                _pull(parameters, states[client], proximal)
            if optimizer.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters.values(), optimizer.clip_norm)
            if offsets is not None:
                _shift(parameters, offsets[client])
            stepper.step()
            values.append(value.detach())
            if after is not None and after(client, step, module, value.item(), len(index)):
                break
        state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
        return state, _mean_loss(values, plans[client])

    # the longest first: at the end no thread is left alone with a long one
    order = sorted(range(len(states)), key=lambda client: -sum(map(len, plans[client])))
    results = dict(zip(order, side_by_side(train_client, order, workers), strict=True))
    trained = [results[client] for client in range(len(states))]
    return Trained([state for state, _ in trained], np.array([value for _, value in trained]))


def _mean_loss(values: Sequence[Tensor], plan: Sequence[NDArray[np.int64]]) -> float:
    """Return the mean over all samples of the losses of steps; NaN without a step."""
    if not values:
        return np.nan
    sizes = [len(index) for index in plan[: len(values)]]
    losses = torch.stack(list(values)).tolist()  # read once: a GPU needn't wait after each step
    return float(sum(value * size for value, size in zip(losses, sizes, strict=True)) / sum(sizes))


def _pull(parameters: Mapping[str, nn.Parameter], start: State, proximal: Mapping[str, float]) -> None:
    """Add the proximal term's gradient μ (w − w_start)."""
    for name, mu in proximal.items():
        parameter = parameters[name]
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - start[name], alpha=mu)


def _shift(parameters: Mapping[str, nn.Parameter], offset: State) -> None:
    for name, shift in offset.items():
        gradient = parameters[name].grad
        if gradient is not None:
            gradient.add_(shift)


def trainable(module: nn.Module) -> set[str]:
    """Return the names of the parameters that training moves."""
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def check_offsets(template: nn.Module, offsets: Sequence[State]) -> None:
    """Raise ValueError where an offset is for something that isn't trained."""
    if unknown := sorted({name for offset in offsets for name in offset} - trainable(template)):
        raise ValueError(f"offsets are for trainable parameters; these aren't: {', '.join(unknown)}")


def average(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float], names: Collection[str] | None = None
) -> State:
    """Average states by weight, FedAvg (McMahan et al. 2017): Σ_i w_i θ_i / Σ_i w_i.

    Summed in float64 in the order of the clients; the average of one state is that state, bit for bit.

    Parameters
    ----------
    states : sequence of State
        States to average.
    weights : sequence of float
        Weight of each, not negative, not all 0; usually its number of samples.
    names : collection of str, optional
        Tensors to average, in any order; all when left out. Others aren't in the result.

    Raises
    ------
    ValueError
        The weights don't fit, or a tensor isn't floating-point (a counter has no weighted mean).
    """
    share = np.asarray(weights, dtype=np.float64)
    if len(share) != len(states) or not (share >= 0).all() or not share.sum() > 0:
        raise ValueError(f"{len(states)} states need as many weights, not negative and not all 0; got {share.tolist()}")
    share = share / share.sum()
    mean: State = {}
    for name in [n for n in states[0] if names is None or n in names]:
        first = states[0][name]
        if not first.is_floating_point():
            raise ValueError(f"'{name}' is {first.dtype} and has no weighted mean; use layers without counters")
        total = first.double() * share[0]
        for state, weight in zip(states[1:], share[1:], strict=True):
            total.add_(state[name], alpha=weight)
        mean[name] = total.to(first.dtype)
    if names is not None and len(mean) != len(set(names)):
        raise ValueError(f"no such tensors: {sorted(set(names) - set(mean))}")
    return mean


def plus(start: State, ends: Sequence[State], starts: Sequence[State], scales: Sequence[float]) -> State:
    """Return start + Σ scale · (end − start_i), summed in float64 in this order."""
    result: State = {}
    for name, tensor in start.items():
        total = tensor.double()
        for end, begin, scale in zip(ends, starts, scales, strict=True):
            total = total + scale * (end[name].double() - begin[name].double())
        result[name] = total.to(tensor.dtype)
    return result


def minus(end: State, start: State) -> State:
    """Return end − start."""
    return {name: end[name] - tensor for name, tensor in start.items()}


def stack(states: Sequence[Mapping[str, Tensor]]) -> State:
    """Stack the states of clients along a new first axis."""
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def unstack(stacked: Mapping[str, Tensor]) -> list[State]:
    """Split a stacked state into the clients' own; copies, so that none keeps the whole alive."""
    parts = zip(*(tensor.unbind() for tensor in stacked.values()), strict=True)
    return [{name: part.clone() for name, part in zip(stacked, mine, strict=True)} for mine in parts]
