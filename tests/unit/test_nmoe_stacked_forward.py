"""What stacks of clients compute is what each client's module computes, whatever it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrize import register_parametrization

from nmoe_sim.nmoe.modules import Gate
from nmoe_sim.nmoe.stacked_forward import stacked_forward


class Doubled(nn.Linear):
    """A linear layer with a ``forward`` of its own."""

    def forward(self, x):
        return 2.0 * super().forward(x)


class Skip(nn.Sequential):
    """A sequence that adds its input."""

    def forward(self, x):
        return x + super().forward(x)


class Shifted(nn.ReLU):
    def forward(self, x):
        return super().forward(x - 0.5)


class Squared(Gate):
    def forward(self, x):
        return super().forward(x).square()


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))

    def forward(self, x):
        return x * self.scale


def hooked(module):
    module.register_forward_hook(lambda module, inputs, output: 3.0 * output)
    return module


MODULES = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)),
    "norm": lambda: nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 3), nn.GELU()),
    "affine norm": lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3)),
    "gate": lambda: Gate(nn.Linear(6, 4), nn.Sequential(nn.Linear(6, 4), nn.Tanh()), 0.3),
    "linear of one's own": lambda: nn.Sequential(Doubled(6, 5), nn.ReLU()),
    "sequence of one's own": lambda: Skip(nn.Linear(6, 6), nn.SiLU()),
    "activation of one's own": lambda: nn.Sequential(nn.Linear(6, 6), Shifted()),
    "gate of one's own": lambda: Squared(nn.Linear(6, 4)),
    "module of one's own": lambda: nn.Sequential(Mine(), nn.Linear(6, 2)),
    "parametrised bias": lambda: register_parametrization(nn.Linear(6, 4), "bias", nn.Softplus()),
    "hooked": lambda: nn.Sequential(hooked(nn.Linear(6, 4)), nn.ReLU()),
    "parametrised": lambda: nn.Sequential(
        register_parametrization(nn.Linear(6, 4), "weight", nn.Softplus()), nn.ReLU()
    ),
}


@pytest.mark.parametrize("name", list(MODULES))
def test_a_stack_computes_what_each_module_does(name):
    torch.manual_seed(0)
    module = MODULES[name]().double()
    states = [{key: torch.rand_like(tensor) + 0.1 for key, tensor in module.state_dict().items()} for _ in range(3)]
    x_ABD = torch.randn(3, 7, 6, dtype=torch.float64)
    expected = torch.stack([functional_call(module, state, (x,)) for state, x in zip(states, x_ABD, strict=True)])
    stacked = {key: torch.stack([state[key] for state in states]) for key in states[0]}
    torch.testing.assert_close(stacked_forward(module)(stacked, x_ABD), expected)
