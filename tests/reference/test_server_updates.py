"""Server optimisers against Algorithm 2 of arXiv 2003.00295, one number at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe.server_update import Average, FedAdagrad, FedAdam, FedAvgM, FedYogi

LR, BETA_1, BETA_2, TAU = 0.3, 0.8, 0.95, 1e-2
OPTIMA = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, -0.5], [-1.0, 4.0, 3.0]])
STIFFNESS = np.array([[1.0, 0.2, 3.0], [0.5, 0.5, 0.1], [2.0, 1.0, 0.7]])


def local(x):
    """Five steps of each client on its own quadratic, then the mean."""
    ends = []
    for optimum, stiffness in zip(OPTIMA, STIFFNESS, strict=True):
        y = x.copy()
        for _ in range(5):
            y = y - 0.1 * stiffness * (y - optimum)
        ends.append(y)
    return np.mean(ends, axis=0)


def second_moment(kind, v, square):
    if kind == "fedadam":
        return BETA_2 * v + (1 - BETA_2) * square
    if kind == "fedyogi":
        return v - (1 - BETA_2) * square * np.sign(v - square)
    return v + square


SPECS = {
    "fedadam": FedAdam(lr=LR, beta_1=BETA_1, beta_2=BETA_2, tau=TAU),
    "fedyogi": FedYogi(lr=LR, beta_1=BETA_1, beta_2=BETA_2, tau=TAU),
    "fedadagrad": FedAdagrad(lr=LR, beta_1=BETA_1, tau=TAU),
}


@pytest.mark.parametrize("kind", list(SPECS))
def test_adaptive_steps(kind):
    x, m, v = np.zeros(3), [0.0] * 3, [TAU**2] * 3
    current, memory = {"a": torch.zeros(1, 2, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}, {}
    fell = False
    for _ in range(40):
        mean = local(x)
        step = {"a": torch.from_numpy(mean[None, :2]), "b": torch.from_numpy(mean[2:])}
        current, memory = SPECS[kind].step(current, step, memory)
        for i in range(3):
            delta = mean[i] - x[i]
            m[i] = BETA_1 * m[i] + (1 - BETA_1) * delta
            new = second_moment(kind, v[i], delta**2)
            fell |= new < v[i]
            v[i] = new
            x[i] = x[i] + LR * m[i] / (math.sqrt(v[i]) + TAU)
        got = np.concatenate([current["a"].numpy().ravel(), current["b"].numpy()])
        np.testing.assert_allclose(got, x, rtol=1e-12)
        np.testing.assert_allclose(np.r_[memory["v.a"].numpy().ravel(), memory["v.b"].numpy()], v, rtol=1e-12)
    assert fell == (kind != "fedadagrad")  # both signs of Yogi were seen


def test_first_step_has_no_bias_correction():
    delta = 0.5
    moved, memory = FedAdam(lr=1.0, tau=0.1).step({"w": torch.zeros(1)}, {"w": torch.full((1,), delta)}, {})
    v = 0.99 * 0.01 + 0.01 * delta**2
    assert moved["w"].item() == pytest.approx(0.1 * delta / (math.sqrt(v) + 0.1), rel=1e-6)
    assert memory["m.w"].item() == pytest.approx(0.05)


def test_server_momentum_is_that_of_torch():
    """FedAvgM is SGD with momentum on −Δ."""
    x = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    stepper = torch.optim.SGD([x], lr=0.7, momentum=0.6)
    current, memory = {"w": torch.zeros(3, dtype=torch.float64)}, {}
    for _ in range(10):
        mean = torch.from_numpy(local(x.detach().numpy()))
        current, memory = FedAvgM(lr=0.7, beta=0.6).step(current, {"w": mean}, memory)
        x.grad = x.detach() - mean
        stepper.step()
        torch.testing.assert_close(current["w"], x.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", [*SPECS.values(), FedAvgM(), Average()], ids=lambda spec: spec.kind)
def test_nothing_given_is_changed_and_only_the_mean_moves(spec):
    current = {"shared": torch.randn(4), "local": torch.randn(2)}
    mean = {"shared": torch.randn(4)}
    moved, memory = spec.step(current, mean, {})
    before = [{name: tensor.clone() for name, tensor in state.items()} for state in (current, mean, moved, memory)]
    spec.step(moved, mean, memory)
    for now, then in zip((current, mean, moved, memory), before, strict=True):
        assert list(now) == list(then)
        assert all(torch.equal(now[name], then[name]) for name in now)
    assert list(moved) == ["shared"]


def test_the_average_is_the_mean_itself():
    mean = {"w": torch.randn(3)}
    moved, memory = Average().step({"w": torch.zeros(3)}, mean, {})
    assert moved is mean
    assert memory == {}
