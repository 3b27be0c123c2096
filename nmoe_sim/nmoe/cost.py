"""Declared cost of computing: FLOP and bytes, counted by torch without computing anything.

Counted are matrix products and convolutions, a multiply-add as 2 FLOP, as
``torch.utils.flop_counter`` defines them; elementwise operations and normalisations are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nmoe_sim.nmoe.mixture import Combine


def count_flop(fn: Callable[[], Any]) -> int:
    """Return the FLOP of what ``fn`` computes; on meta tensors it computes nothing and needs no memory."""
    with FlopCounterMode(display=False) as counter:
        fn()
    return int(counter.get_total_flops())


def forward_flop(module: nn.Module, input_shape: Sequence[int]) -> int:
    """Return the FLOP of one sample through a module.

    Parameters
    ----------
    module : nn.Module
        Extractor, expert or gate; left where it is.
    input_shape : sequence of int
        Shape of one sample, such as (C, H, W) or (D,).
    """
    on_meta = copy.deepcopy(module).to("meta").eval()
    with torch.no_grad():
        return count_flop(lambda: on_meta(torch.empty(1, *input_shape, device="meta")))


def training_step_flop(module: nn.Module, loss: Callable[..., Tensor], *inputs: Tensor) -> int:
    """Return the FLOP of one training step, forward and backward, on a whole batch.

    Divide by the batch size for the cost a sample; with a cost that doesn't grow with the batch, such
    as the P×P products of a correlation matrix, that depends on the batch size.

    Parameters
    ----------
    module : nn.Module
        What is trained; left where it is.
    loss : callable
        ``loss(module, *inputs)`` → scalar. It must not read values: inputs are without content.
    *inputs : Tensor
        Batch of inputs; only shape and dtype matter.
    """
    on_meta = copy.deepcopy(module).to("meta")
    batch = [torch.empty_like(x, device="meta") for x in inputs]
    return count_flop(lambda: torch.autograd.backward(loss(on_meta, *batch)))


def combine_flop(num_experts: int, num_classes: int, how: Combine) -> int:
    """Return the FLOP of combining the experts of one sample, declared in closed form.

    Softmax over n entries is 3n (exponential, sum, division): once for the weights and, for
    ``probabilities``, once an expert; the weighted sum is 2·K·C.

    Parameters
    ----------
    num_experts : int
        Experts K whose outputs are combined.
    num_classes : int
        Classes C.
    how : {"logits", "probabilities"}
        What is added up.
    """
    outputs = num_experts * num_classes
    return 3 * num_experts + 2 * outputs + (3 * outputs if how == "probabilities" else 0)


def tensor_bytes(state: Mapping[str, Tensor]) -> int:
    """Return the bytes of a state's tensors, as stored and as sent without compression."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def num_elements(state: Mapping[str, Tensor]) -> int:
    """Return the number of values in a state."""
    return sum(tensor.numel() for tensor in state.values())


def average_flop(num_values: int, num_states: int) -> int:
    """Return the FLOP of a weighted average, declared in closed form: a multiply and an add a value and state."""
    return 2 * num_values * num_states
