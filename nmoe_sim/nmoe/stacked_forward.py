"""A module's forward pass for many clients at once, each with a state of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.utils.parametrize import is_parametrized

from nmoe_sim.nmoe.modules import Gate

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""forward(stacked, x_AB...) → outputs of each client, shape (A, B, ...); ``stacked`` are the module's parameters with
a first axis over clients."""

_KINDS = (
    *(nn.Linear, nn.Sequential, Gate, nn.Flatten, nn.LayerNorm),
    *(nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity),
)
"""What has a rule, if it has no ``forward``, hook or parametrisation of its own."""


def stacked_forward(module: nn.Module, prefix: str = "") -> Forward:
    """Return what applies a module with a state for each client; how is found out here, once for all calls.

    Linear layers become one batched product; modules without a rule here go through ``torch.func.vmap``.

    Parameters
    ----------
    module : nn.Module
        Architecture; its own weights aren't used.
    prefix : str
        What its parameters' names begin with in the states.
    """
    if not _has_rule(module):
        return _mapped(module, prefix)
    if isinstance(module, nn.Linear):
        return _linear(module, prefix)
    if isinstance(module, nn.Sequential):
        return _sequence([stacked_forward(child, f"{prefix}{name}.") for name, child in module.named_children()])
    if isinstance(module, Gate):
        shared = stacked_forward(module.shared, f"{prefix}shared.")
        local, add = stacked_forward(module.local, f"{prefix}local."), module.add
        return lambda stacked, x: add(shared(stacked, x), local(stacked, x))
    if isinstance(module, nn.Flatten):
        return lambda stacked, x: x.flatten(2)
    return lambda stacked, x: module(x)


def has_rules(module: nn.Module) -> bool:
    """Tell whether all of a module has rules, so that no part of it goes through ``torch.func.vmap``."""
    return all(_has_rule(part) for part in module.modules())


def _has_rule(module: nn.Module) -> bool:
    if is_parametrized(module) or module._forward_hooks or module._forward_pre_hooks:
        return False
    if isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        return False
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        return False
    return any(isinstance(module, kind) and type(module).forward is kind.forward for kind in _KINDS)


def _linear(module: nn.Linear, prefix: str) -> Forward:
    weight, bias = f"{prefix}weight", f"{prefix}bias"

    # W xᵀ, not x Wᵀ: with few classes the products of the backward pass are then several times faster
    def product(stacked: Mapping[str, Tensor], x_ABD: Tensor) -> Tensor:
        return torch.bmm(stacked[weight], x_ABD.transpose(1, 2)).transpose(1, 2)

    def with_bias(stacked: Mapping[str, Tensor], x_ABD: Tensor) -> Tensor:
        out_AFB = torch.baddbmm(stacked[bias].unsqueeze(2), stacked[weight], x_ABD.transpose(1, 2))
        return out_AFB.transpose(1, 2)

    return product if module.bias is None else with_bias


def _sequence(parts: list[Forward]) -> Forward:
    def one_after_the_other(stacked: Mapping[str, Tensor], x: Tensor) -> Tensor:
        for part in parts:
            x = part(stacked, x)
        return x

    return one_after_the_other


def _mapped(module: nn.Module, prefix: str) -> Forward:
    def mapped(stacked: Mapping[str, Tensor], x: Tensor) -> Tensor:
        own = {name.removeprefix(prefix): tensor for name, tensor in stacked.items() if name.startswith(prefix)}
        out: Tensor = vmap(lambda state, x: functional_call(module, state, (x,)))(own, x) if own else vmap(module)(x)
        return out

    return mapped
