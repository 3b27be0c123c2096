"""How a cohort is computed, chosen by its model.

* A model whose parameters are vectors and matrices, none of them frozen or used twice, without buffers, such as a
  perceptron: all clients **stacked**, one batched product a layer (``stacked``). Its operations are so small that
  starting them costs more than computing them, and stacking starts one where a loop starts one a client. On images
  that is so for layers with a rule in ``stacked_forward``, on features for any: ``torch.func.vmap`` maps the others.
* Any other, such as a convolutional network, and a client that is alone: clients **side by side** on threads, each
  operation on one thread (``cohort``). Batched convolutions are slower than a loop; torch's operations let other
  threads run meanwhile; and two clients keep two cores busier than one client's operations split in two.

Worker processes instead of threads can gain where operations are so small that threads wait for the interpreter, and
gain nothing for a ResNet (``pair`` in ``benchmarks/learning.py``); every loss would have to be sent to them.

Stacks are cut into blocks of a size that follows from the model alone. How many blocks or clients are computed at the
same time, and so how much memory they need, follows from the machine and from a bound; it changes no bit of the result.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nmoe_sim.nmoe.cohort import Loss, State, Trained, stack, train_modules, unstack
from nmoe_sim.nmoe.early_stopping import EarlyStopping
from nmoe_sim.nmoe.optimizer import Optimizer
from nmoe_sim.nmoe.stacked import StackedBatch, StackedLoss, train_stacked
from nmoe_sim.nmoe.stacked_forward import has_rules

BLOCK_BYTES = 1 << 25
"""Memory of a block of stacked clients: large enough that starting an operation costs nothing, and not much larger."""
_COPIES = {"sgd": 4, "adam": 5}
"""Tensors of the model's size at a client in training: start, weights, gradient, moments."""


def strategy(template: nn.Module, input_shape: Sequence[int]) -> Literal["stacked", "side_by_side"]:
    """Return how clients with such a module are trained, on samples of a shape; see above."""
    parameters = [parameter for _, parameter in template.named_parameters(remove_duplicate=False)]
    small = all(parameter.dim() <= 2 and parameter.requires_grad for parameter in parameters)
    once = len(parameters) == len(set(parameters))
    known = len(input_shape) == 1 or has_rules(template)
    return "stacked" if small and once and known and not any(True for _ in template.buffers()) else "side_by_side"


def train_cohort(
    template: nn.Module,
    states: Sequence[State],
    inputs: Sequence[Tensor],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    loss: StackedLoss,
    optimizer: Optimizer,
    *,
    lr_scale: float = 1.0,
    proximal: Mapping[str, float] | None = None,
    offsets: Sequence[State] | None = None,
    workers: int = 1,
    memory_bytes: int | None = None,
    early: EarlyStopping | None = None,
) -> Trained:
    """Train a copy of the module at each client, on its own samples, by the strategy that suits the module.

    Parameters
    ----------
    template : nn.Module
        Architecture; left as it is.
    states : sequence of State
        Where each client starts.
    inputs : sequence of Tensor
        Each client's samples, shape (n_i, ...).
    plans : sequence of sequence of ndarray
        Batches of each client, as of ``cohort.batches``.
    loss : callable
        Loss of what the modules return; called from several threads where clients are side by side.
    optimizer, lr_scale, proximal, offsets
        As of ``cohort.train_modules``.
    workers : int
        Threads. The result is the same bits for any number.
    memory_bytes : int, optional
        Bound on the memory of what is computed at the same time; none by default. The result is the same bits for any.
        One block, or where the model isn't stacked one client, is computed even if it needs more.
    early : EarlyStopping, optional
        Watches the training; it must be new.

    Returns
    -------
    Trained
        State and loss of each client; with ``early`` its best state.
    """
    if not states:
        return Trained([], np.zeros(0))
    shape = inputs[0].shape[1:]
    if len(states) > 1 and strategy(template, shape) == "stacked":
        each_bytes = client_bytes(template, shape, plans, optimizer)
        block_size = max(1, BLOCK_BYTES // each_bytes)
        stacked, losses = train_stacked(
            template,
            stack(states),
            inputs,
            plans,
            loss,
            optimizer,
            lr_scale=lr_scale,
            proximal=proximal,
            offsets=None if offsets is None else stack(offsets),
            block_size=block_size,
            workers=_at_once(workers, memory_bytes, block_size * each_bytes),
            after=None if early is None else early.after_stacked,
        )
        trained = Trained(unstack(stacked), losses)
        return trained if early is None else early.outcome(trained)
    trained = train_modules(
        template,
        states,
        plans,
        _of_one_client(loss, inputs),
        optimizer,
        lr_scale=lr_scale,
        proximal=proximal,
        offsets=offsets,
        workers=affordable_workers(template, shape, plans, optimizer, workers, memory_bytes),
        after=None if early is None else early.after_module,
    )
    return trained if early is None else early.outcome(trained)


def affordable_workers(
    template: nn.Module,
    input_shape: Sequence[int],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    optimizer: Optimizer,
    workers: int,
    memory_bytes: int | None,
) -> int:
    """Return how many of ``workers`` may train a client each at the same time, at least one; see ``client_bytes``."""
    if memory_bytes is None:
        return workers
    return _at_once(workers, memory_bytes, client_bytes(template, input_shape, plans, optimizer))


def _at_once(workers: int, memory_bytes: int | None, each_bytes: int) -> int:
    return workers if memory_bytes is None else max(1, min(workers, memory_bytes // each_bytes))


def client_bytes(
    template: nn.Module,
    input_shape: Sequence[int],
    plans: Sequence[Sequence[NDArray[np.int64]]],
    optimizer: Optimizer,
) -> int:
    """Estimate the memory of one client in training.

    Counted are the start, the weights, their gradient and moments; twice a batch, as of losses that look at two views;
    and for each of the two whatever operations keep for the backward pass. What two operations keep counts twice,
    which leaves room for gradients of activations. Workspaces of convolutions are left out.

    Parameters
    ----------
    template : nn.Module
        Architecture; left where it is, nothing is computed.
    input_shape : sequence of int
        Shape of one sample.
    plans : sequence of sequence of ndarray
        Batches of the clients; the largest counts.
    optimizer : Optimizer
        Step rule.
    """
    batch_size = max((len(index) for plan in plans for index in plan), default=1)
    batch = torch.empty((batch_size, *input_shape), device="meta")
    model = sum(p.numel() * p.element_size() for p in template.parameters())
    activations = batch.numel() * batch.element_size() + _kept_bytes(template, batch)
    return max(1, _COPIES[optimizer.method] * model + 2 * activations)


_known_bytes: WeakKeyDictionary[nn.Module, dict[torch.Size, int]] = WeakKeyDictionary()


def _kept_bytes(template: nn.Module, batch: Tensor) -> int:
    """Return what operations keep of a batch for the backward pass; found out once for a module and a shape."""
    known = _known_bytes.setdefault(template, {})
    if batch.shape in known:
        return known[batch.shape]
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
        return tensor

    on_meta = copy.deepcopy(template).to("meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        on_meta(batch)
    known[batch.shape] = kept
    return kept


def _of_one_client(loss: StackedLoss, inputs: Sequence[Tensor]) -> Loss:
    """Return the loss of a stacked cohort as one for a client's own module."""
    starts = np.cumsum([0, *(len(x) for x in inputs)]).tolist()

    def of_one(module: nn.Module, client: int, index_B: Tensor, step: int) -> Tensor:
        x = inputs[client]
        index_B = index_B.to(x.device)
        batch = StackedBatch(
            step,
            clients_A=torch.tensor([client], device=x.device),
            rows_AB=index_B[None] + starts[client],
            mask_AB=torch.ones((1, len(index_B)), dtype=torch.bool, device=x.device),
        )
        return loss(module(x.index_select(0, index_B))[None], batch).squeeze(0)

    return of_one
