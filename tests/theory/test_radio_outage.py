"""How often a faded power is below a threshold, against closed forms."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import i0e
from scipy.stats import binom, gamma

from channels.fading import nakagami_outage_probability, rayleigh_outage_probability, rician_outage_probability
from nmoe_sim.engine.radio.fading import FadingSpec, Nakagami, Rayleigh, Rician
from nmoe_sim.rng import RandomStreams

SEED = 20240511
CONFIDENCE = 0.999
LINKS, BLOCKS = np.arange(400), np.arange(1000)
K_10_DB = 10.0


def rice_density(gain: float, k: float) -> float:
    """Of the power gain (Simon and Alouini 2005, equation 2.16), scaled so that it never overflows."""
    argument = 2 * np.sqrt(k * (1 + k) * gain)
    return (1 + k) * np.exp(-k - (1 + k) * gain + argument) * i0e(argument)


def gains(law: FadingSpec) -> np.ndarray:
    los = np.ones((len(BLOCKS), len(LINKS)), dtype=bool)
    return law.power_gain(RandomStreams(SEED).uniform, LINKS, BLOCKS, los=los, carrier_hz=3.5e9, bandwidth_hz=20e6)[
        ..., 0
    ]


@pytest.fixture(scope="module")
def rayleigh_gain() -> np.ndarray:
    return gains(Rayleigh())


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1.0, 2.0])
def test_rayleigh_outage(rayleigh_gain: np.ndarray, threshold: float) -> None:
    expected = 1 - np.exp(-threshold)
    assert rayleigh_outage_probability(threshold) == pytest.approx(expected, rel=1e-12)
    low, high = np.array(binom.interval(CONFIDENCE, rayleigh_gain.size, expected)) / rayleigh_gain.size
    assert (high - low) / 2 < 0.04 * expected

    assert low <= np.mean(rayleigh_gain < threshold) <= high

    of_a_larger_mean = 1 - np.exp(-threshold / 1.1)
    assert not low <= of_a_larger_mean <= high


@pytest.mark.parametrize(
    ("law", "threshold"),
    [
        (Rician(k_db=0.0), 0.1),
        (Rician(k_db=0.0), 1.0),
        (Rician(k_db=10.0), 0.4),
        (Rician(k_db=10.0), 1.0),
        (Nakagami(m=0.5), 0.1),
        (Nakagami(m=3.0), 0.3),
        (Nakagami(m=3.0), 1.0),
    ],
    ids=str,
)
def test_outage_of_rician_and_nakagami_fading(law: FadingSpec, threshold: float) -> None:
    if isinstance(law, Rician):
        expected = quad(rice_density, 0, threshold, args=(10 ** (law.k_db / 10),), epsabs=0, epsrel=1e-10)[0]
        closed_form = rician_outage_probability(threshold, 10 ** (law.k_db / 10))
    else:
        assert isinstance(law, Nakagami)
        expected = gamma.cdf(threshold, law.m, scale=1 / law.m)
        closed_form = nakagami_outage_probability(threshold, law.m)
    assert closed_form == pytest.approx(expected, rel=1e-9)

    gain = gains(law)
    low, high = np.array(binom.interval(CONFIDENCE, gain.size, expected)) / gain.size
    assert (high - low) / 2 < 0.04 * expected
    assert low <= np.mean(gain < threshold) <= high
    assert not low <= rayleigh_outage_probability(threshold) <= high


@pytest.mark.parametrize("k", [0.01, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("threshold", [0.7, 1.0, 1.3])
def test_rician_outage_is_the_integral_of_rices_density(k: float, threshold: float) -> None:
    spread = 10 / np.sqrt(1 + k)  # the density is concentrated about 1 for large K
    pieces = np.unique(np.clip([0.0, 1 - spread, 1.0, 1 + spread, threshold], 0.0, threshold))
    expected = sum(quad(rice_density, a, b, args=(k,), epsabs=1e-14)[0] for a, b in pairwise(pieces))
    assert rician_outage_probability(threshold, k) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_gains_of_neighbouring_links_and_blocks_are_uncorrelated(rayleigh_gain: np.ndarray) -> None:
    # The correlation of n independent pairs is within 3.29/√n of 0 with 99.9 % confidence.
    for first, second in (
        (rayleigh_gain[1:], rayleigh_gain[:-1]),
        (rayleigh_gain[:, 1:], rayleigh_gain[:, :-1]),
    ):
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 3.29 / np.sqrt(first.size)
