"""A module's forward pass for many clients at once, each with a state of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.parametrize import is_parametrized

from nmoe_sim.nmoe.cohort import State
from nmoe_sim.nmoe.modules import Gate

Kind = TypeVar("Kind", bound=nn.Module)

_ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity)


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
    if _is(module, nn.Linear):
        # W xᵀ, not x Wᵀ: with few classes the products of the backward pass are then several times faster
        weight_AFD, x_ADB = stacked["weight"], x_ABD.transpose(1, 2)
        if module.bias is None:
            return torch.bmm(weight_AFD, x_ADB).transpose(1, 2)
        return torch.baddbmm(stacked["bias"].unsqueeze(2), weight_AFD, x_ADB).transpose(1, 2)
    if _is(module, *_ELEMENTWISE) or (_is(module, nn.LayerNorm) and not module.elementwise_affine):
        out: Tensor = module(x_ABD)
        return out
    if _is(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        return x_ABD.flatten(2)
    if _is(module, nn.Sequential):
        for name, child in module.named_children():
            x_ABD = stacked_forward(child, _within(stacked, name), x_ABD)
        return x_ABD
    if _is(module, Gate):
        shared = stacked_forward(module.shared, _within(stacked, "shared"), x_ABD)
        return module.add(shared, stacked_forward(module.local, _within(stacked, "local"), x_ABD))
    mapped: Tensor
    if stacked:
        mapped = vmap(lambda state, x_BD: functional_call(module, state, (x_BD,)))(dict(stacked), x_ABD)
    else:
        mapped = vmap(module)(x_ABD)
    return mapped


def _is(module: nn.Module, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Tell whether a module computes what one of these kinds does, without a ``forward`` or a hook of its own."""
    if is_parametrized(module) or module._forward_hooks or module._forward_pre_hooks:
        return False
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in kinds)


def _within(stacked: Mapping[str, Tensor], name: str) -> State:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in stacked.items() if key.startswith(prefix)}
