"""Device profiles: what is set, what can be overridden, and what their sources say."""

import inspect

import pytest
from pydantic import ValidationError

from nmoe_sim.engine import device_profiles
from nmoe_sim.scenario.device_profile import DeviceProfile
from nmoe_sim.scenario.spec import Spec

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
    assert missing == set(DeviceProfile.model_fields) - {"count", "battery_j", "initial_charge", "dvfs"}
