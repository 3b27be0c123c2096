"""Distributions and correlations of small-scale fading, against what theory says of them."""

import numpy as np
import pytest
from scipy.special import j0
from scipy.stats import kstest

from channels.doppler import doppler_autocorrelation, doppler_frequency_hz
from channels.fading import nakagami_outage_probability, rayleigh_outage_probability, rician_outage_probability
from channels.rayleigh_field import RayleighField
from channels.subbands import frequency_correlation
from nmoe_sim.engine.radio.fading import FadingSpec, Nakagami, Rayleigh, Rician
from nmoe_sim.rng import RandomStreams

SEED = 20240511
Z_999 = 3.29
UNIFORM = RandomStreams(SEED).uniform
DOPPLER_HZ = 40.0
BANDWIDTH_HZ = 4e6
SELECTIVE = {"delay_spread_s": 1e-7, "num_subbands": 4}
MOVING = {"doppler_hz": DOPPLER_HZ, "coherence_time_s": 1e-3}


def gains(law: FadingSpec, num_links: int, blocks: np.ndarray, los: bool = True) -> np.ndarray:
    state = np.full((len(blocks), num_links), los)
    return law.power_gain(UNIFORM, np.arange(num_links), blocks, los=state, carrier_hz=3.5e9, bandwidth_hz=BANDWIDTH_HZ)


@pytest.mark.parametrize("over_time", [{}, MOVING], ids=["block", "doppler"])
@pytest.mark.parametrize("over_frequency", [{}, SELECTIVE], ids=["flat", "selective"])
@pytest.mark.parametrize(
    ("law", "fields", "cdf"),
    [
        (Rayleigh, {}, rayleigh_outage_probability),
        (Rician, {"k_db": 3.0}, lambda x: rician_outage_probability(x, 10**0.3)),
        (Nakagami, {"m": 1.7}, lambda x: nakagami_outage_probability(x, 1.7)),
    ],
    ids=["rayleigh", "rician", "nakagami"],
)
def test_distribution_over_links(law, fields, cdf, over_time, over_frequency) -> None:
    gain = gains(law(**fields, **over_time, **over_frequency), 10_000, np.array([0, 17]))
    for k in range(gain.shape[2]):
        for block in range(2):
            assert kstest(gain[block, :, k], cdf).pvalue > 1e-3
    of_a_larger_mean = kstest(1.1 * gain[0, :, 0], cdf)
    assert of_a_larger_mean.pvalue < 1e-6


def test_rician_links_without_line_of_sight_fade_as_rayleigh() -> None:
    blocks = np.arange(2)
    without = gains(Rician(k_db=10.0), 10_000, blocks, los=False)
    assert kstest(without.ravel(), rayleigh_outage_probability).pvalue > 1e-3
    np.testing.assert_allclose(without, gains(Rayleigh(), 10_000, blocks), rtol=1e-12)
    forced = gains(Rician(k_db=10.0, nlos="rician"), 10_000, blocks, los=False)
    np.testing.assert_array_equal(forced, gains(Rician(k_db=10.0), 10_000, blocks))


def test_phases_of_diffuse_gains_are_uniform() -> None:
    for doppler_hz in (None, DOPPLER_HZ):
        gain = RayleighField(1e-3, doppler_hz).gain(UNIFORM, np.arange(20_000), np.array([5]))
        assert kstest(np.angle(gain).ravel() / (2 * np.pi) + 0.5, "uniform").pvalue > 1e-3


# Lags over the first zeros of J0 (at 0.383 and 0.879 turns) and far beyond them.
TURNS = np.array([0.05, 0.1, 0.2, 0.383, 0.61, 0.879, 1.1, 3.0, 30.0])


def test_gain_over_time_has_the_autocorrelation_of_clarke() -> None:
    num_links = 40_000
    step_s = 0.001 / DOPPLER_HZ
    blocks = np.concatenate([[0], np.rint(TURNS * 1000).astype(np.int64)])
    gain = RayleighField(step_s, DOPPLER_HZ).gain(UNIFORM, np.arange(num_links), blocks)[..., 0]
    expected = j0(2 * np.pi * TURNS)
    np.testing.assert_allclose(doppler_autocorrelation(DOPPLER_HZ, TURNS / DOPPLER_HZ), expected, atol=1e-12)

    products = gain[1:] * gain[0].conj()
    half_width = Z_999 * np.sqrt(np.mean(np.abs(products) ** 2, axis=1) / num_links)
    assert np.all(half_width < 0.04)
    assert np.all(np.abs(products.mean(axis=1) - expected) < half_width)
    # A Doppler shift 10 % off would be found.
    assert np.any(np.abs(products.mean(axis=1) - j0(2.2 * np.pi * TURNS)) > half_width)

    power = np.abs(gain) ** 2
    covariance = np.mean(power[1:] * power[0], axis=1) - power[1:].mean(axis=1) * power[0].mean()
    assert np.all(np.abs(covariance - expected**2) < 0.1)


def test_a_link_over_time_is_like_links_at_one_time() -> None:
    # Means of 2,000 samples, nearly independent: Gaussian amplitudes of 32 waves would spread them by 1/√32 = 0.18.
    gain = RayleighField(7.3 / DOPPLER_HZ, DOPPLER_HZ).power(UNIFORM, np.arange(50), np.arange(2_000))[..., 0]
    assert np.std(gain.mean(axis=0)) < 1.3 / np.sqrt(2_000)
    assert kstest(gain[::10].ravel(), rayleigh_outage_probability).pvalue > 1e-3


@pytest.mark.parametrize("relative_amplitude", [0.3, 1.0])
def test_level_crossings(relative_amplitude: float) -> None:
    # Up-crossings of ρ times the root mean square amplitude, √(2π) f_d ρ exp(-ρ²) a second (Rice 1948).
    num_links, turns, per_turn = 400, 25, 64
    field = RayleighField(1 / (per_turn * DOPPLER_HZ), DOPPLER_HZ)
    power = field.power(UNIFORM, np.arange(num_links), np.arange(turns * per_turn))[..., 0]
    above = power > relative_amplitude**2
    crossings = np.sum(above[1:] & ~above[:-1], axis=0) / (turns - 1 / per_turn)
    expected = np.sqrt(2 * np.pi) * relative_amplitude * np.exp(-(relative_amplitude**2))
    half_width = Z_999 * crossings.std() / np.sqrt(num_links)
    assert half_width < 0.05 * expected
    # Sampling at 64 points a turn misses some of the shortest excursions.
    assert abs(crossings.mean() - expected) < half_width + 0.01 * expected


def test_doppler_shift_of_a_speed() -> None:
    # 3 km/h at 3.5 GHz
    assert doppler_frequency_hz(3 / 3.6, 3.5e9) == pytest.approx(9.729, abs=5e-4)
    fields = {"coherence_time_s": 1e-3, **SELECTIVE}
    by_speed = gains(Rayleigh(speed_m_per_s=3 / 3.6, **fields), 20, np.arange(5))
    np.testing.assert_array_equal(
        by_speed, gains(Rayleigh(doppler_hz=3 / 3.6 * 3.5e9 / 299_792_458, **fields), 20, np.arange(5))
    )


def test_without_motion_the_gain_stays() -> None:
    for law in (Rayleigh(speed_m_per_s=0.0), Rician(doppler_hz=0.0)):
        gain = gains(law, 100, np.array([0, 1, 10_000]))
        np.testing.assert_array_equal(gain[1:], np.broadcast_to(gain[0], (2, 100, 1)))
        assert gain[0].std() > 0.1


def test_direct_path_has_one_doppler_shift() -> None:
    # With K = 60 dB hardly anything but the direct path is left, so the power is constant.
    gain = gains(Rician(k_db=60.0, **MOVING), 100, np.arange(200))
    assert np.all(np.abs(gain - 1) < 0.02)
    # With K = 0 dB the autocovariance of the power is (J0² + 2 J0 E[cos]) / 4, and E[cos] is J0 over links.
    lags = np.array([0, 2, 5, 8])
    gain = gains(Rician(k_db=0.0, **MOVING), 40_000, lags)[..., 0]
    covariance = np.mean((gain - 1) * (gain[0] - 1), axis=1)
    correlation = j0(2 * np.pi * DOPPLER_HZ * lags * 1e-3)
    half_width = Z_999 * np.std((gain - 1) * (gain[0] - 1), axis=1) / np.sqrt(gain.shape[1])
    assert np.all(half_width < 0.04)
    # E|h|⁴ of 32 plane waves is 2 - 1/32, so the variance of |h|² is 1/32 lower.
    assert np.all(np.abs(covariance - 0.75 * correlation**2) < half_width + 1 / 32 / 4)


@pytest.mark.parametrize("over_time", [{}, {"doppler_hz": DOPPLER_HZ}], ids=["block", "doppler"])
def test_frequency_correlation_of_the_exponential_profile(over_time: dict) -> None:
    num_links, num_subbands, subband_hz, delay_spread_s = 40_000, 12, 360e3, 300e-9
    field = RayleighField(
        0.01, num_subbands=num_subbands, subband_hz=subband_hz, delay_spread_s=delay_spread_s, **over_time
    )
    gain = field.gain(UNIFORM, np.arange(num_links), np.array([3]))[0]
    # By integrating the profile itself: Σ exp(-t/τ)/τ exp(-j2πft) dt
    t = (np.arange(200_000) + 0.5) / 200_000 * 40
    for first, second in ((0, 1), (0, 4), (3, 11), (11, 0), (5, 5)):
        spacing_hz = (first - second) * subband_hz
        expected = np.sum(np.exp(-t - 2j * np.pi * spacing_hz * delay_spread_s * t)) * 40 / 200_000
        assert frequency_correlation(spacing_hz, delay_spread_s) == pytest.approx(expected, abs=1e-6)
        product = gain[:, first] * gain[:, second].conj()
        assert abs(product.mean() - expected) < Z_999 * np.sqrt(np.mean(np.abs(product) ** 2) / num_links) < 0.04
        wrong = 1 / (1 + 2j * np.pi * spacing_hz * 2 * delay_spread_s)
        assert first == second or abs(product.mean() - wrong) > 0.04


def test_time_and_frequency_correlations_multiply() -> None:
    num_links, lag_s, spacing_hz, delay_spread_s = 40_000, 0.15 / DOPPLER_HZ, 1e6, 1e-7
    field = RayleighField(lag_s, DOPPLER_HZ, 2, spacing_hz, delay_spread_s)
    gain = field.gain(UNIFORM, np.arange(num_links), np.array([0, 1]))
    product = gain[1, :, 1] * gain[0, :, 0].conj()
    expected = j0(2 * np.pi * 0.15) / (1 + 2j * np.pi * spacing_hz * delay_spread_s)
    half_width = Z_999 * np.sqrt(np.mean(np.abs(product) ** 2) / num_links)
    assert abs(product.mean() - expected) < half_width < 0.04


def test_nearly_equal_subbands_have_nearly_equal_gains() -> None:
    field = RayleighField(0.01, None, 64, 15e3, 1e-9)
    gain = field.power(UNIFORM, np.arange(1000), np.arange(2))
    assert np.max(np.abs(gain - gain[..., :1])) < 0.05
    assert gain.mean() == pytest.approx(1.0, abs=Z_999 / np.sqrt(2000))


def test_nakagami_over_time_keeps_the_ranks_of_rayleigh() -> None:
    blocks = np.arange(300)
    rayleigh, nakagami = gains(Rayleigh(**MOVING), 20, blocks), gains(Nakagami(m=4.0, **MOVING), 20, blocks)
    np.testing.assert_array_equal(np.argsort(rayleigh, axis=0), np.argsort(nakagami, axis=0))
    lag = 2
    of_rayleigh = np.corrcoef(rayleigh[lag:].ravel(), rayleigh[:-lag].ravel())[0, 1]
    of_nakagami = np.corrcoef(nakagami[lag:].ravel(), nakagami[:-lag].ravel())[0, 1]
    assert of_nakagami == pytest.approx(of_rayleigh, abs=0.05)
