"""Shannon's efficiency, outage of Rayleigh fading and log-normal shadowing, on arrays."""

import numpy as np
import pytest

from channels.fading import rayleigh_outage_probability
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


def test_outage_keeps_small_thresholds() -> None:
    assert rayleigh_outage_probability(1e-20) == pytest.approx(1e-20, rel=1e-12, abs=0)


def test_log_normal_scales_normals() -> None:
    np.testing.assert_array_equal(log_normal_db([-1.0, 0.5], [4.0, 8.0]), [-4.0, 4.0])
