import numpy as np
import pytest

from channels.fading import rayleigh_outage_probability, rayleigh_power_gain
from channels.link_adaptation import shannon_efficiency
from channels.shadowing import log_normal_db


def test_shannon() -> None:
    np.testing.assert_allclose(shannon_efficiency([0.0, 1.0, 3.0, 1023.0]), [0.0, 1.0, 2.0, 10.0], rtol=1e-14)


def test_shannon_keeps_small_snrs() -> None:
    assert shannon_efficiency(1e-18) == pytest.approx(1e-18 / np.log(2), rel=1e-12, abs=0)


def test_shannon_gap_divides_the_snr() -> None:
    np.testing.assert_allclose(shannon_efficiency([10.0, 70.0], gap_db=10.0), [1.0, 3.0], rtol=1e-14)


def test_shannon_cap() -> None:
    np.testing.assert_allclose(shannon_efficiency([1.0, 1e9], max_bps_per_hz=7.4063), [1.0, 7.4063])
    assert shannon_efficiency(1e9) > 29


def test_rayleigh_inverts_its_distribution() -> None:
    uniform = np.linspace(0.001, 1.0, 50)
    gain = rayleigh_power_gain(uniform)
    np.testing.assert_allclose(rayleigh_outage_probability(gain), 1.0 - uniform, atol=1e-15)
    assert gain[-1] == 0.0


def test_rayleigh_has_unit_mean() -> None:
    # The midpoint rule integrates -ln(u) over (0, 1) to 1.
    uniform = (np.arange(100_000) + 0.5) / 100_000
    assert rayleigh_power_gain(uniform).mean() == pytest.approx(1.0, abs=1e-5)


def test_outage_keeps_small_thresholds() -> None:
    assert rayleigh_outage_probability(1e-20) == pytest.approx(1e-20, rel=1e-12, abs=0)


def test_log_normal_scales_normals() -> None:
    np.testing.assert_array_equal(log_normal_db([-1.0, 0.5], [4.0, 8.0]), [-4.0, 4.0])
