import numpy as np
import pytest
from scipy.stats import binom, kstwo

from channels import Channel, LinkGeometry
from channels.fading import rayleigh_outage_probability
from channels.units import db_to_linear
from nmoe_sim.engine.radio import FreeSpace, LogNormal, NoFading, NoShadowing, Rayleigh, UrbanMicro
from nmoe_sim.rng import RandomStreams

SEED = 20240511
CONFIDENCE = 0.999


def make_channel(num_links: int, path_loss, shadowing, fading, distance_2d_m: float) -> Channel:
    return Channel(
        LinkGeometry.between(np.full(num_links, distance_2d_m), 10.0, 1.5),
        carrier_hz=3.5e9,
        path_loss=path_loss,
        shadowing=shadowing,
        fading=fading,
        uniform=RandomStreams(SEED).uniform,
        link_ids=np.arange(num_links),
        pair_ids=np.arange(num_links),
    )


@pytest.fixture(scope="module")
def relative_gain() -> np.ndarray:
    channel = make_channel(400, FreeSpace(), NoShadowing(), Rayleigh(), 100.0)
    return channel.power_gain(np.arange(400), np.arange(1000)) / db_to_linear(channel.mean_gain_db)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1.0, 2.0])
def test_rayleigh_outage(relative_gain: np.ndarray, threshold: float) -> None:
    expected = 1 - np.exp(-threshold)
    assert rayleigh_outage_probability(threshold) == pytest.approx(expected, rel=1e-12)
    low, high = np.array(binom.interval(CONFIDENCE, relative_gain.size, expected)) / relative_gain.size
    assert (high - low) / 2 < 0.04 * expected

    assert low <= np.mean(relative_gain < threshold) <= high

    of_a_larger_mean = 1 - np.exp(-threshold / 1.1)
    assert not low <= of_a_larger_mean <= high


def test_gains_of_neighbouring_links_and_blocks_are_uncorrelated(relative_gain: np.ndarray) -> None:
    # The correlation of n independent pairs is within 3.29/√n of 0 with 99.9 % confidence.
    for first, second in (
        (relative_gain[1:], relative_gain[:-1]),
        (relative_gain[:, 1:], relative_gain[:, :-1]),
    ):
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 3.29 / np.sqrt(first.size)


def test_line_of_sight_is_as_frequent_as_its_probability() -> None:
    num_links = 100_000
    channel = make_channel(num_links, UrbanMicro(), NoShadowing(), NoFading(), 50.0)
    expected = 18 / 50 + np.exp(-50 / 36) * (1 - 18 / 50)
    low, high = np.array(binom.interval(CONFIDENCE, num_links, expected)) / num_links
    assert (high - low) / 2 < 0.04 * expected
    assert low <= channel.is_los.mean() <= high


def test_shadowing_is_normal_with_the_tabled_spread() -> None:
    from scipy.special import ndtr

    num_links = 100_000
    channel = make_channel(num_links, UrbanMicro(), LogNormal(), NoFading(), 50.0)
    for los, std_db in ((True, 4.0), (False, 7.82)):
        draws_db = np.sort(channel.shadowing_db[channel.is_los == los])
        steps = np.arange(len(draws_db) + 1) / len(draws_db)
        cdf = ndtr(draws_db / std_db)
        distance = max(np.max(steps[1:] - cdf), np.max(cdf - steps[:-1]))
        assert distance < kstwo.ppf(CONFIDENCE, len(draws_db))
