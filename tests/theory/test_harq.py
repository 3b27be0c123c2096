from functools import reduce
from math import exp, factorial

import numpy as np
import pytest
from scipy.stats import norm

from channels.harq import chase_failures, harq_statistics

SEED = 20250117
CONFIDENCE = 0.999
MEAN_SINR, THRESHOLD = 4.0, 6.0


def erlang_failures(num_transmissions: int) -> np.ndarray:
    """Probability that the sum of k exponential SINRs is below the threshold: 1 - e^-x Σ_{i<k} x^i/i!."""
    x = THRESHOLD / MEAN_SINR
    return np.array([1 - exp(-x) * sum(x**i / factorial(i) for i in range(k)) for k in range(1, num_transmissions + 1)])


def closed_form(num_transmissions: int) -> float:
    failures = erlang_failures(num_transmissions)
    return float((1 - failures[-1]) / (1 + failures[:-1].sum()))


def below_threshold(sinr: np.ndarray) -> np.ndarray:
    return (sinr < THRESHOLD).astype(float)


@pytest.mark.parametrize("num_transmissions", [1, 2, 4, 8])
def test_throughput_on_a_rayleigh_channel_under_threshold_decoding(num_transmissions: int) -> None:
    num_blocks = 40_000
    sinr = np.random.default_rng(SEED).exponential(MEAN_SINR, (num_blocks, num_transmissions))
    failures = chase_failures(below_threshold, sinr)
    throughput = float(harq_statistics(failures.mean(axis=0)).delivered_per_transmission)

    # A ratio of means: its error is that of the mean of success - ratio x transmissions, to first order.
    expected = closed_form(num_transmissions)
    blocks = harq_statistics(failures)
    spread = np.std(1 - blocks.residual_loss - expected * blocks.mean_transmissions)
    half_width = norm.isf((1 - CONFIDENCE) / 2) * spread / np.sqrt(num_blocks) / blocks.mean_transmissions.mean()
    assert half_width < 0.04 * expected
    assert abs(throughput - expected) < half_width


@pytest.mark.parametrize("num_transmissions", [1, 2, 3])
def test_the_average_over_fading_equals_the_closed_form_by_quadrature(num_transmissions: int) -> None:
    # A smooth decoder, ε(γ) = e^(-γ/θ): averaged over k exponential SINRs of mean γ̄, it is 1/(1 + γ̄/θ)^k.
    nodes, weights = np.polynomial.laguerre.laggauss(40)
    sinr = MEAN_SINR * np.stack(np.meshgrid(*[nodes] * num_transmissions, indexing="ij"), axis=-1)
    failures = chase_failures(lambda combined: np.exp(-combined / THRESHOLD), sinr)
    average = np.tensordot(reduce(np.multiply.outer, [weights] * num_transmissions), failures, axes=num_transmissions)
    expected = (1 + MEAN_SINR / THRESHOLD) ** -np.arange(1.0, num_transmissions + 1)
    np.testing.assert_allclose(average, expected, rtol=1e-9)


def test_throughput_of_a_slot_by_slot_simulation() -> None:
    num_transmissions, num_slots = 3, 100_000
    rng = np.random.default_rng(SEED)
    combined, attempt, delivered, lost, blocks = 0.0, 0, 0, 0, []
    start = 0
    for slot in range(num_slots):
        combined, attempt = combined + rng.exponential(MEAN_SINR), attempt + 1
        if combined >= THRESHOLD or attempt == num_transmissions:
            delivered += combined >= THRESHOLD
            lost += combined < THRESHOLD
            blocks.append((combined >= THRESHOLD, slot + 1 - start))
            combined, attempt, start = 0.0, 0, slot + 1
    success, slots = np.array(blocks, dtype=float).T

    statistics = harq_statistics(erlang_failures(num_transmissions))
    z = norm.isf((1 - CONFIDENCE) / 2)
    for sample, expected in (
        (slots, statistics.mean_transmissions),
        (1 - success, statistics.residual_loss),
    ):
        half_width = z * sample.std() / np.sqrt(len(sample))
        assert half_width < 0.04 * expected
        assert abs(sample.mean() - expected) < half_width
    ratio = statistics.delivered_per_transmission
    half_width = z * (success - ratio * slots).std() / np.sqrt(len(slots)) / slots.mean()
    assert half_width < 0.04 * ratio
    assert abs(delivered / start - ratio) < half_width
    assert delivered + lost == len(slots)


def test_certain_outcomes() -> None:
    never = harq_statistics(np.ones(4))
    assert (never.mean_transmissions, never.residual_loss, never.delivered_per_transmission) == (4.0, 1.0, 0.0)
    at_once = harq_statistics(np.zeros((2, 4)))
    np.testing.assert_array_equal(at_once.mean_transmissions, [1.0, 1.0])
    np.testing.assert_array_equal(at_once.delivered_per_transmission, [1.0, 1.0])
    third = harq_statistics(chase_failures(below_threshold, np.full(4, THRESHOLD / 2.5)))
    assert (third.mean_transmissions, third.residual_loss) == (3.0, 0.0)
