"""ε against published figures, closed forms and integrals; DP-FedAvg against its definition."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_scenario
from scipy.stats import chi2, norm

from nmoe_sim.checks import check
from nmoe_sim.errors import InputError, RunError
from nmoe_sim.nmoe.accounting import gaussian_epsilon, gaussian_noise_multiplier
from nmoe_sim.nmoe.privacy import DpFedAvg, NoPrivacy, matrix_epsilon, matrix_noise_std, matrix_sensitivity


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("noise_multiplier", "delta", "rounds", "sampling_rate", "published"),
    [
        (0.7, 1e-5, 120, 0.01, 2.4612381),
        (0.7, 1e-5, 2, 1.0, 10.1224946),
        (1.0, 1e-6, 5, 1.0, 12.595),
        (1.0, 1e-6, 782, 64 / 10_000, 1.199),
    ],
)
def test_published_figures(noise_multiplier, delta, rounds, sampling_rate, published):
    """DP-SGD, from the tests of TensorFlow Privacy (compute_dp_sgd_privacy_test.py), which uses the same accountant.

    The last two are of 10,000 examples in batches of 64 over 5 epochs with noise multiplier 2 and microbatches,
    which double the sensitivity.
    """
    digits = len(str(published).partition(".")[2])
    got = gaussian_epsilon(noise_multiplier, delta, rounds, sampling_rate)
    assert got == pytest.approx(published, abs=2e-6 if digits > 3 else 5e-4)


@pytest.mark.parametrize(
    ("noise_multiplier", "batch", "examples", "epochs", "delta", "published"),
    [(1.3, 150, 60_000, 15, 1e-5, 0.7242234026), (1.0, 100, 100_000, 30, 1e-7, 1.4154988495)],
)
def test_never_above_what_renyi_divergences_give(noise_multiplier, batch, examples, epochs, delta, published):
    """MNIST with DP-SGD, from the same tests: an upper bound, which privacy loss distributions make sharper."""
    rounds = epochs * examples // batch
    got = gaussian_epsilon(noise_multiplier, delta, rounds, batch / examples)
    assert 0.75 * published < got < published


def delta_of(epsilon, mu):
    """δ(ε) of a Gaussian mechanism whose two outputs are μ standard deviations apart."""
    return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize("delta", [1e-2, 1e-5])
@pytest.mark.parametrize("rounds", [1, 7, 200])
@pytest.mark.parametrize("noise_multiplier", [3.0, 10.0, 100.0])
def test_closed_form_of_composed_gaussians(noise_multiplier, rounds, delta):
    """T releases are one whose outputs are √T / z standard deviations apart (Dong, Roth and Su, Corollary 3.3)."""
    epsilon = gaussian_epsilon(noise_multiplier, delta, rounds)
    at_epsilon = delta_of(epsilon, math.sqrt(rounds) / noise_multiplier)
    if epsilon == 0:
        assert at_epsilon <= delta
        return
    assert at_epsilon == pytest.approx(delta, rel=1e-6)
    assert gaussian_noise_multiplier(epsilon, delta, rounds) == pytest.approx(noise_multiplier, rel=1e-6)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("noise_multiplier", [0.8, 2.0])
def test_one_sampled_round_is_the_integral_over_its_densities(noise_multiplier, rate):
    """δ(ε) = max over both directions of ∫ max(P − e^ε Q, 0), P = (1 − q) N(0, z²) + q N(1, z²), Q = N(0, z²)."""
    delta = 1e-4
    epsilon = gaussian_epsilon(noise_multiplier, delta, 1, rate)
    x = np.linspace(-12 * noise_multiplier, 1 + 12 * noise_multiplier, 400_001)
    without = norm.pdf(x, 0, noise_multiplier)
    within = (1 - rate) * without + rate * norm.pdf(x, 1, noise_multiplier)

    def exact(epsilon):
        return max(
            np.trapezoid(np.maximum(p - math.exp(epsilon) * q, 0), x) for p, q in ((within, without), (without, within))
        )

    assert exact(epsilon) <= delta * (1 + 1e-6)
    assert exact(epsilon - 2e-3) > delta


def test_epsilon_grows_with_rounds_and_rate_and_falls_with_noise():
    rising = [gaussian_epsilon(1.0, 1e-5, rounds, 0.2) for rounds in (0, 1, 30)]
    assert rising == sorted(rising)
    assert rising[0] == 0.0
    by_rate = [gaussian_epsilon(1.0, 1e-5, 20, rate) for rate in (0.0, 0.01, 1.0)]
    assert by_rate == sorted(by_rate)
    assert by_rate[0] == 0.0
    by_noise = [gaussian_epsilon(noise, 1e-5, 20, 0.5) for noise in (1e9, 1.0, 1e-9, 0.0)]
    assert by_noise == sorted(by_noise)
    assert by_noise[0] == 0.0
    assert by_noise[-1] == math.inf


@pytest.mark.parametrize(("rounds", "rate"), [(-1, 0.5), (1, -0.1), (1, 1.1), (1, math.nan)])
def test_what_is_no_rate_or_number_of_rounds_is_refused(rounds, rate):
    with pytest.raises(ValueError, match="rounds >= 0 and a rate in"):
        gaussian_epsilon(1.0, 1e-5, rounds, rate)


PAGE = (Path(__file__).parents[2] / "docs/explanation/privacy.md").read_text()


def rows(header):
    lines = PAGE.split(header)[1].splitlines()[2:]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in itertools.takewhile(str.strip, lines)]
    return [[float(cell.replace(",", "")) for cell in row] for row in table]


def test_the_figures_on_the_page():
    for noise_multiplier, rounds, always, sampled in rows("| `noise_multiplier` | rounds | q = 1 | q = 0.1 |"):
        spec = DpFedAvg(noise_multiplier=noise_multiplier)
        assert (round(spec.epsilon(int(rounds), 1.0), 2), round(spec.epsilon(int(rounds), 0.1), 2)) == (always, sampled)
    for num_samples, rounds, shown in rows("| n | rounds | ε |"):
        assert matrix_epsilon(0.00104, 4.0, int(num_samples), int(rounds), 1e-5) == pytest.approx(shown, rel=1e-3)
    assert round(matrix_noise_std(8.0, 1e-5, 4.0, 5000, 200), 4) == 0.0096
    assert round(0.00104 / matrix_sensitivity(4.0, 5000), 2) == 0.92


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(InputError, match=r"pip install 'nmoe-sim\[privacy\]'"):
        DpFedAvg().epsilon(1, 1.0)
    assert NoPrivacy().epsilon(1, 1.0) == math.inf


@pytest.mark.parametrize(
    "extractor",
    [{"kind": "fedce", "privacy": {"kind": "dp_fedavg"}}, {"kind": "fedsc", "correlation_noise_std": 1.0}],
    ids=["updates", "matrices"],
)
def test_without_the_library_a_run_that_would_need_it_is_refused(monkeypatch, extractor):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(InputError, match=r"isn't installed; pip install 'nmoe-sim\[privacy\]'") as caught:
        check(tiny_scenario({"training.extractor": extractor}))
    assert caught.value.key == "training.extractor"


# --- DP-FedAvg -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("seed", range(5))
def test_an_update_is_clipped_as_a_whole(seed, scale):
    spec = DpFedAvg(clip_norm=0.3)
    shapes = {"w": (40, 3), "b": (3,), "none": (0,)}
    update = {name: scale * torch.randn(shape, generator=generator(seed)) for name, shape in shapes.items()}
    clipped = spec.clip(update)
    before, after = (
        np.concatenate([tensor.double().numpy().ravel() for tensor in state.values()]) for state in (update, clipped)
    )
    norm_before, norm_after = np.linalg.norm(before), np.linalg.norm(after)
    if norm_before <= 0.3:
        assert clipped is update
    else:
        assert norm_after <= 0.3  # not a bit more: ε rests on it
        np.testing.assert_allclose(after / 0.3, before / norm_before, atol=1e-6)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_update_that_is_not_finite_has_no_clip(broken):
    with pytest.raises(RunError, match=r"isn't finite.*lower optimizer\.lr"):
        DpFedAvg().clip({"w": torch.tensor([0.0, broken])})


def test_noise_has_the_scale_of_one_client_in_the_mean():
    spec = DpFedAvg(clip_norm=2.0, noise_multiplier=1.5)
    mean = {"w": torch.full((300, 100), 3.0, dtype=torch.float64), "b": torch.zeros(1000, dtype=torch.float64)}
    noisy = spec.noise(mean, 8, generator())
    noise = np.concatenate([(noisy[name] - mean[name]).numpy().ravel() for name in mean])
    std, n = 1.5 * 2.0 / 8, len(noise)
    low, high = chi2.ppf([0.0005, 0.9995], n) / n
    assert low < np.mean((noise / std) ** 2) < high
    assert abs(noise.mean()) < 3.29 * std / math.sqrt(n)
    again = spec.noise(mean, 8, generator())
    assert all(torch.equal(noisy[name], again[name]) for name in mean)
    quiet = DpFedAvg(noise_multiplier=0.0).noise(mean, 8, generator())
    assert all(torch.equal(quiet[name], mean[name]) for name in mean)


def test_epsilon_is_that_of_the_noise_multiplier():
    spec = DpFedAvg(noise_multiplier=2.0, delta=1e-3, clip_norm=7.0)
    assert spec.epsilon(30, 0.25) == gaussian_epsilon(2.0, 1e-3, 30, 0.25)
    assert spec.equal_weights
    assert not NoPrivacy().equal_weights


def test_without_privacy_nothing_is_touched():
    update = {"w": torch.randn(3)}
    assert NoPrivacy().clip(update) is update
    assert NoPrivacy().noise(update, 3, generator()) is update
