import doctest

import numpy as np
import pytest

import channels
from channels import units


def test_the_package_example() -> None:
    result = doctest.testmod(channels)
    assert result.attempted > 0
    assert result.failed == 0


def test_round_trips() -> None:
    values_db = np.array([-120.0, -3.0, 0.0, 10.0, 77.7])
    np.testing.assert_allclose(units.linear_to_db(units.db_to_linear(values_db)), values_db, rtol=1e-14)
    np.testing.assert_allclose(units.watt_to_dbm(units.dbm_to_watt(values_db)), values_db, rtol=1e-14)


@pytest.mark.parametrize(("power_dbm", "power_w"), [(0.0, 1e-3), (30.0, 1.0), (23.0, 0.1995262315)])
def test_dbm(power_dbm: float, power_w: float) -> None:
    assert units.dbm_to_watt(power_dbm) == pytest.approx(power_w)


def test_no_power_is_minus_infinity_without_a_warning() -> None:
    assert units.linear_to_db(0.0) == -np.inf
    assert units.watt_to_dbm(0.0) == -np.inf
    assert np.isnan(units.linear_to_db(-1.0))


def test_noise_broadcasts_and_scales_with_temperature() -> None:
    noise_w = units.thermal_noise_w([[1e6], [2e6]], [0.0, 10.0])
    np.testing.assert_allclose(noise_w / noise_w[0, 0], [[1.0, 10.0], [2.0, 20.0]])
    assert units.thermal_noise_w(1e6, 0.0, 145.0) == pytest.approx(noise_w[0, 0] / 2)
