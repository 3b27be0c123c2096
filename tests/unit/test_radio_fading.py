import runpy
from math import gamma
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import gammaincc
from scipy.stats import kstest, weibull_min

from channels.fading import (
    nakagami_outage_probability,
    nakagami_power_gain,
    rayleigh_outage_probability,
    rayleigh_power_gain,
    rician_outage_probability,
    rician_power_gain,
)
from channels.laws import FadingLaw
from nmoe_sim.engine.radio.fading import FadingSpec, Nakagami, NoFading, Rayleigh, Rician
from nmoe_sim.rng import RandomStreams

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugins" / "fading.py"
UNIFORM = RandomStreams(7).uniform
BANDWIDTH_HZ = 12e6
SELECTIVE = {"delay_spread_s": 1e-7, "num_subbands": 12}
LAWS = [
    law(**time, **frequency)
    for law in (Rayleigh, Rician, Nakagami)
    for time in ({}, {"doppler_hz": 30.0}, {"speed_m_per_s": 10.0})
    for frequency in ({}, SELECTIVE)
]


def gains(law: FadingLaw, links: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    los = (links + blocks[:, None]) % 3 > 0
    return law.power_gain(UNIFORM, links, blocks, los=los, carrier_hz=3.5e9, bandwidth_hz=BANDWIDTH_HZ)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_gain_is_a_function_of_link_block_and_subband(law: FadingSpec) -> None:
    links, blocks = np.array([3, 2**40 + 5, 0, 17, 8, 9, 1]), np.array([0, 5, 100_000, 2, 3])
    together = gains(law, links, blocks)
    assert together.shape == (5, 7, law.num_subbands or 1)
    np.testing.assert_array_equal(together[::-1, ::-1], gains(law, links[::-1], blocks[::-1]))
    for t, block in enumerate(blocks):
        for m, link in enumerate(links):
            alone = gains(law, np.array([link]), np.array([block]))
            np.testing.assert_array_equal(alone[0, 0], together[t, m])
    np.testing.assert_array_equal(gains(law, links, blocks[2:3])[0], together[2])
    np.testing.assert_array_equal(gains(law, links[:5], blocks)[:, 4], together[:, 4])


@pytest.mark.parametrize("law", [Nakagami(), Rician(doppler_hz=30.0), Rayleigh(doppler_hz=30.0, **SELECTIVE)], ids=str)
def test_many_links_at_once_are_the_same_links(law: FadingSpec) -> None:
    # More links than are worked on at a time.
    many = gains(law, np.arange(9_000), np.array([4]))
    np.testing.assert_array_equal(many[:, 8_990:], gains(law, np.arange(8_990, 9_000), np.array([4])))
    assert many.mean() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("law", [NoFading(), *LAWS], ids=str)
def test_no_links_or_no_blocks(law: FadingLaw) -> None:
    none = np.empty(0, dtype=np.int64)
    assert gains(law, none, np.arange(3)).shape[:2] == (3, 0)
    assert gains(law, np.arange(3), none).shape[:2] == (0, 3)


def test_without_fading_gains_are_one() -> None:
    assert NoFading().coherence_time_s is None
    np.testing.assert_array_equal(gains(NoFading(), np.arange(3), np.arange(2)), np.ones((2, 3, 1)))


def test_flat_block_fading_is_one_draw_a_link_and_block() -> None:
    links, blocks = np.arange(30), np.arange(4)
    assert Rayleigh().coherence_time_s == 0.05
    expected = -np.log(UNIFORM("fading", links, blocks[:, None]))
    np.testing.assert_array_equal(gains(Rayleigh(), links, blocks)[..., 0], expected)
    # More sub-bands add to the flat channel, and to each other.
    selective = Rayleigh(**SELECTIVE)
    np.testing.assert_allclose(gains(selective, links, blocks)[..., 0], expected, rtol=1e-12)
    fewer = Rayleigh(**{**SELECTIVE, "num_subbands": 5})
    los = np.ones((4, 30), dtype=bool)
    narrower = fewer.power_gain(UNIFORM, links, blocks, los=los, carrier_hz=3.5e9, bandwidth_hz=BANDWIDTH_HZ * 5 / 12)
    np.testing.assert_allclose(narrower, gains(selective, links, blocks)[..., :5], rtol=1e-9)


def test_laws_differ_in_nothing_but_their_distribution() -> None:
    links, blocks = np.arange(50), np.arange(20)
    rayleigh = gains(Rayleigh(), links, blocks)
    np.testing.assert_allclose(gains(Nakagami(m=1.0), links, blocks), rayleigh, rtol=1e-9)
    np.testing.assert_allclose(gains(Rician(k_db=-40.0), links, blocks), rayleigh, atol=0.15)
    np.testing.assert_array_equal(
        np.argsort(gains(Nakagami(m=5.0), links, blocks), axis=None), np.argsort(rayleigh, axis=None)
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"doppler_hz": 5.0, "speed_m_per_s": 1.0}, "give one of them"),
        ({"num_subbands": 4}, "missing: delay_spread_s"),
        ({"delay_spread_s": 1e-7}, "missing: num_subbands"),
        ({"delay_spread_s": 0.0, "num_subbands": 4}, "greater than 0"),
        ({"delay_spread_s": 1e-7, "num_subbands": 1}, "greater than or equal to 2"),
        ({"coherence_time_s": 0.0}, "greater than or equal to 0.00001"),
        ({"doppler_hz": -1.0}, "greater than or equal to 0"),
    ],
)
@pytest.mark.parametrize("law", [Rayleigh, Rician, Nakagami])
def test_settings_that_make_no_sense_are_refused(law: type[FadingSpec], fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        law(**fields)


@pytest.mark.parametrize(
    ("law", "fields"), [(Nakagami, {"m": 0.4}), (Rician, {"k_db": 100.0}), (Rician, {"nlos": "none"})]
)
def test_parameters_of_laws_have_bounds(law: type[FadingSpec], fields: dict) -> None:
    with pytest.raises(ValidationError):
        law(**fields)


def test_rayleigh_inverts_its_distribution() -> None:
    uniform = np.linspace(0.001, 1.0, 50)
    gain = rayleigh_power_gain(uniform)
    np.testing.assert_allclose(rayleigh_outage_probability(gain), 1.0 - uniform, atol=1e-15)
    assert gain[-1] == 0.0


def test_rayleigh_has_unit_mean() -> None:
    # The midpoint rule integrates -ln(u) over (0, 1) to 1.
    uniform = (np.arange(100_000) + 0.5) / 100_000
    assert rayleigh_power_gain(uniform).mean() == pytest.approx(1.0, abs=1e-5)


def test_rician_adds_two_paths() -> None:
    # K = 3: amplitudes √3/2 and 1/2 of the diffuse gain, in phase, in quadrature and opposed.
    gain = rician_power_gain([1.0, 1j, -1.0, 0.0], 1.0, 3.0)
    np.testing.assert_allclose(gain, [1 + np.sqrt(3) / 2, 1.0, 1 - np.sqrt(3) / 2, 0.75])
    np.testing.assert_allclose(rician_power_gain(0.6 + 0.8j, 1.0, [0.0, 1e12]), [1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("m", [0.5, 1.0, 2.5, 40.0])
def test_nakagami_inverts_its_distribution_in_both_tails(m: float) -> None:
    rayleigh = np.concatenate([np.logspace(-12, -0.2, 40), [np.log(2.0), 0.7, 5.0, 20.0, 36.0]])
    gain = nakagami_power_gain(rayleigh, m)
    assert np.all(np.diff(gain) > 0)
    small = rayleigh < 1
    np.testing.assert_allclose(
        nakagami_outage_probability(gain[small], m), rayleigh_outage_probability(rayleigh[small]), rtol=1e-9
    )
    np.testing.assert_allclose(gammaincc(m, m * gain), np.exp(-rayleigh), rtol=1e-9)
    uniform = (np.arange(200_000) + 0.5) / 200_000
    moments = nakagami_power_gain(-np.log(uniform), m)
    assert moments.mean() == pytest.approx(1.0, rel=1e-3)
    assert moments.var() == pytest.approx(1 / m, rel=1e-2)


def test_outages_meet_where_their_laws_do() -> None:
    threshold = np.array([1e-20, 0.01, 0.5, 1.0, 4.0])
    np.testing.assert_allclose(rayleigh_outage_probability(threshold), -np.expm1(-threshold), rtol=1e-12)
    np.testing.assert_allclose(rician_outage_probability(threshold, 0.0), -np.expm1(-threshold), rtol=1e-9)
    np.testing.assert_allclose(nakagami_outage_probability(threshold, 1.0), -np.expm1(-threshold), rtol=1e-12)
    # Without diffuse paths, a step at the mean.
    np.testing.assert_allclose(rician_outage_probability([0.9, 1.1], 1e6), [0.0, 1.0], atol=1e-12)
    for probability in (rician_outage_probability(0.0, 2.0), nakagami_outage_probability(0.0, 2.0)):
        assert probability == 0.0


def test_the_documented_law_of_ones_own() -> None:
    [weibull] = runpy.run_path(str(EXAMPLE))["FAMILIES"]["fading"]
    links, blocks = np.arange(40), np.arange(50)
    np.testing.assert_allclose(gains(weibull(shape=2.0), links, blocks), gains(Rayleigh(), links, blocks))
    for shape in (1.0, 4.0):
        law = weibull(shape=shape, **SELECTIVE)
        gain = np.sort(gains(law, np.arange(500), blocks)[..., 3], axis=None)
        assert gain.mean() == pytest.approx(1.0, abs=3.29 * gain.std() / np.sqrt(gain.size))
        scale = 1 / np.sqrt(gamma(1 + 2 / shape))
        assert kstest(np.sqrt(gain), weibull_min(shape, scale=scale).cdf).pvalue > 1e-3
