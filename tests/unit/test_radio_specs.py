import inspect
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from channels import LinkGeometry, path_loss
from nmoe_sim.engine import device_profiles, radio
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.spec import Spec

GEOMETRY = LinkGeometry.between([5.0, 100.0, 400.0], 10.0, 1.5)
ALL_LOS = np.array([True, True, True])
PROFILES = (
    device_profiles.Phone,
    device_profiles.RaspberryPi4,
    device_profiles.JetsonOrinNano,
    device_profiles.EdgeServer,
    device_profiles.BaseStation,
)


def specs_of(module: object) -> list[type[Spec]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Spec) and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("spec", [*specs_of(radio), *specs_of(device_profiles)], ids=lambda spec: spec.__name__)
def test_every_spec_has_a_kind_and_documented_fields(spec: type[Spec]) -> None:
    assert spec.kind
    assert spec.__doc__
    for name, field in spec.model_fields.items():
        assert field.description, name


def test_importing_the_specs_does_not_import_torch() -> None:
    code = (
        "import sys, nmoe_sim.engine.radio, nmoe_sim.engine.device_profiles;"
        "assert not {'torch', 'sklearn', 'pandas', 'scipy.optimize'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_free_space_takes_the_3d_distance() -> None:
    law = radio.FreeSpace()
    np.testing.assert_array_equal(
        law.path_loss_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), path_loss.free_space(np.hypot([5, 100, 400], 8.5), 1e9)
    )
    np.testing.assert_array_equal(law.los_probability(GEOMETRY), np.ones(3))
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), np.zeros(3))
    # One wavelength at 20 MHz is 15 m.
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=20e6), [False, True, True])


def test_log_distance_passes_its_fields_on() -> None:
    law = radio.LogDistance(exponent=4.0, reference_distance_m=20.0, shadow_std_db=6.0)
    loss_db = law.path_loss_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS)
    distance_m = np.hypot([100, 400], 8.5)
    np.testing.assert_allclose(loss_db[1:] - path_loss.free_space(20.0, 1e9), 40 * np.log10(distance_m / 20.0))
    np.testing.assert_array_equal(law.los_probability(GEOMETRY), np.ones(3))
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=1e9, los=ALL_LOS), [6.0] * 3)
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=1e9), [False, True, True])


def test_umi_gives_the_base_stations_part_to_the_higher_end() -> None:
    law = radio.UrbanMicro()
    los = np.array([True, False, False])
    expected = {"distance_2d_m": [5.0, 100.0, 400.0], "carrier_hz": 3.5e9, "height_bs_m": 10.0, "height_ut_m": 1.5}
    np.testing.assert_array_equal(
        law.path_loss_db(GEOMETRY, carrier_hz=3.5e9, los=los), path_loss.tr38901("umi", los=los, **expected)
    )
    np.testing.assert_array_equal(law.shadow_fading_std_db(GEOMETRY, carrier_hz=3.5e9, los=los), [4.0, 7.82, 7.82])
    np.testing.assert_array_equal(law.in_validity_range(GEOMETRY, carrier_hz=3.5e9), [False, True, True])
    np.testing.assert_array_equal(
        law.los_probability(GEOMETRY), path_loss.los_probability("umi", distance_2d_m=[5.0, 100.0, 400.0])
    )


@pytest.mark.parametrize(("setting", "probability"), [("always", 1.0), ("never", 0.0)])
def test_umi_line_of_sight_can_be_forced(setting: str, probability: float) -> None:
    np.testing.assert_array_equal(radio.UrbanMicro(los=setting).los_probability(GEOMETRY), [probability] * 3)


def test_shadowing_takes_the_path_loss_laws_spread_unless_it_has_its_own() -> None:
    normal, std_db = np.array([1.0, -2.0]), np.array([4.0, 7.82])
    np.testing.assert_array_equal(radio.LogNormal().shadowing_db(normal, std_db), [4.0, -15.64])
    np.testing.assert_array_equal(radio.LogNormal(std_db=3.0).shadowing_db(normal, std_db), [3.0, -6.0])
    np.testing.assert_array_equal(radio.LogNormal(std_db=0.0).shadowing_db(normal, std_db), [0.0, 0.0])
    np.testing.assert_array_equal(radio.NoShadowing().shadowing_db(normal, std_db), [0.0, 0.0])


def test_fading_laws() -> None:
    uniform = np.array([[0.5, 0.25]])
    assert radio.NoFading().coherence_time_s is None
    np.testing.assert_array_equal(radio.NoFading().power_gain(uniform), [[1.0, 1.0]])
    assert radio.Rayleigh().coherence_time_s == 0.05
    np.testing.assert_allclose(radio.Rayleigh().power_gain(uniform), np.log([[2.0, 4.0]]))


def test_shannon_defaults_to_a_gap_and_a_cap() -> None:
    law = radio.Shannon()
    # A gap of 3 dB divides the SNR by 1.9953.
    np.testing.assert_allclose(law.efficiency_bps_per_hz([1.9952623, 1e9]), [1.0, 7.4063], rtol=1e-7)
    assert law.max_bps_per_hz == pytest.approx(8 * 948 / 1024, abs=5.1e-5)
    ideal = radio.Shannon(gap_db=0.0, max_bps_per_hz=None)
    np.testing.assert_allclose(ideal.efficiency_bps_per_hz([1.0, 2.0**20 - 1]), [1.0, 20.0])


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (radio.LogDistance, {"exponent": 0.0}),
        (radio.LogDistance, {"reference_distance_m": 0.0}),
        (radio.LogNormal, {"std_db": -1.0}),
        (radio.UrbanMicro, {"los": "sometimes"}),
        (radio.Rayleigh, {"coherence_time_s": 0.0}),
        (radio.Shannon, {"gap_db": -1.0}),
        (radio.Shannon, {"max_bps_per_hz": 0.0}),
        (radio.FreeSpace, {"exponent": 2.0}),
    ],
)
def test_wrong_fields_are_refused(spec: type[Spec], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.__name__)
def test_profiles_default_every_field_and_can_be_overridden(profile: type[DeviceProfile]) -> None:
    device = profile()
    assert device.flop_per_s > 1e9
    assert profile(flop_per_s=1.0, battery_j=5.0).battery_j == 5.0
    assert set(profile.model_fields) == set(DeviceProfile.model_fields)


def test_profile_kinds() -> None:
    assert {profile.kind for profile in specs_of(device_profiles)} == {
        "phone",
        "raspberry_pi_4",
        "jetson_orin_nano",
        "edge_server",
        "base_station",
        "custom",
    }


def test_only_the_phone_runs_on_a_battery() -> None:
    assert [profile.kind for profile in PROFILES if profile().battery_j is not None] == ["phone"]


def test_base_station_draws_what_the_earth_model_says() -> None:
    device = device_profiles.BaseStation()
    radiated_w = 2 * 6.3
    power_w = device.idle_w + device.tx_circuit_w + radiated_w / device.amplifier_efficiency
    assert power_w == pytest.approx(2 * (56 + 2.6 * 6.3))


def test_custom_needs_every_budget_and_power() -> None:
    with pytest.raises(ValidationError) as error:
        device_profiles.Custom()
    missing = {detail["loc"][0] for detail in error.value.errors()}
    assert missing == set(DeviceProfile.model_fields) - {"count", "battery_j"}
