import numpy as np
import pytest

from channels import Channel, Sites, path_loss
from channels.units import SPEED_OF_LIGHT_M_PER_S, dbm_to_watt, watt_to_dbm
from nmoe_sim.engine.radio.fading import NoFading
from nmoe_sim.engine.radio.path_loss import FreeSpace
from nmoe_sim.engine.radio.shadowing import NoShadowing
from nmoe_sim.rng import RandomStreams


@pytest.mark.parametrize("carrier_hz", [0.7e9, 3.5e9, 28e9])
def test_free_space_is_friis_equation(carrier_hz: float) -> None:
    distance_m = np.array([0.5, 1.0, 10.0, 123.4, 5e3, 4e8])
    wavelength_m = SPEED_OF_LIGHT_M_PER_S / carrier_hz
    gain = (wavelength_m / (4 * np.pi * distance_m)) ** 2
    np.testing.assert_allclose(path_loss.free_space(distance_m, carrier_hz), -10 * np.log10(gain), rtol=0, atol=1e-9)


def test_received_power_of_a_worked_example() -> None:
    # 50 W at 900 MHz over 100 m with a wavelength of 1/3 m: 50·(1/3)²/(4π·100)² = 3.518 µW, -24.54 dBm.
    # The wavelength is set through the carrier c/(1/3 m).
    channel = Channel(
        Sites.static([(0, 0), (60, 80)], 2.0),
        carrier_hz=3 * SPEED_OF_LIGHT_M_PER_S,
        path_loss=FreeSpace(),
        shadowing=NoShadowing(),
        fading=NoFading(),
        uniform=RandomStreams(0).uniform,
    )
    received_w = 50.0 * channel.power_gain([0], [1], [0])[0, 0, 0]
    assert received_w == pytest.approx(3.518e-6, rel=1e-3)
    assert watt_to_dbm(received_w) == pytest.approx(-24.54, abs=5e-3)
    assert dbm_to_watt(46.9897) == pytest.approx(50.0, rel=1e-6)
