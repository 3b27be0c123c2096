import numpy as np
import pytest

from channels import path_loss
from channels.environments import ENVIRONMENTS

UMI = {"carrier_hz": 3.5e9, "height_bs_m": 10.0, "height_ut_m": 1.5}


def test_an_unknown_environment_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown environment 'urban'; known: .*'umi'"):
        path_loss.tr38901("urban", distance_2d_m=10.0, los=True, **UMI)
    with pytest.raises(ValueError, match=r"unknown environment"):
        path_loss.los_probability("UMI", distance_2d_m=10.0)
    with pytest.raises(ValueError, match=r"unknown environment"):
        path_loss.shadow_fading_std_db("", distance_2d_m=10.0, los=True, **UMI)
    with pytest.raises(ValueError, match=r"unknown environment"):
        path_loss.in_validity_range("x", distance_2d_m=10.0, **UMI)


def test_an_unknown_office_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown office 'closed'; known: 'mixed', 'open'"):
        path_loss.los_probability("umi", distance_2d_m=10.0, office="closed")


def test_an_environment_has_only_its_own_settings() -> None:
    with pytest.raises(ValueError, match=r"environment 'umi' has no setting 'street_width_m'; it has none"):
        path_loss.tr38901("umi", distance_2d_m=10.0, los=True, street_width_m=10.0, **UMI)
    with pytest.raises(ValueError, match=r"'inf_sl' has no setting 'clutter'; it has clutter_density, clutter_size_m"):
        path_loss.los_probability("inf_sl", distance_2d_m=10.0, clutter=0.5)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_arguments_broadcast(environment: str) -> None:
    arguments = {
        "distance_2d_m": np.full((2, 1, 1), 100.0),
        "carrier_hz": np.array([3.5e9, 28e9, 1e9]),
        "height_bs_m": 10.0,
        "height_ut_m": np.full((4, 1), 1.5),
    }
    los = np.ones((5, 1, 1, 1), dtype=bool)
    assert path_loss.tr38901(environment, los=los, **arguments).shape == (5, 2, 4, 3)
    assert path_loss.shadow_fading_std_db(environment, los=los, **arguments).shape == (5, 2, 4, 3)
    assert path_loss.in_validity_range(environment, **arguments).shape == (2, 4, 3)
    assert path_loss.los_probability(environment, distance_2d_m=np.ones((2, 1)), height_ut_m=np.ones(3)).shape == (2, 3)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_degenerate_arguments_give_finite_values_without_warnings(environment: str) -> None:
    for height_m in (0.0, 1.0, 1.5, 10.0):
        arguments = {"distance_2d_m": [0.0, 1e-9, 1e6], "height_bs_m": height_m, "height_ut_m": height_m}
        loss_db = path_loss.tr38901(environment, carrier_hz=[[1e6], [1e12]], los=False, **arguments)
        assert np.all(np.isfinite(loss_db))
        probability = path_loss.los_probability(environment, **arguments)
        assert probability[0] == 1.0
        assert np.all((probability >= 0.0) & (probability <= 1.0))


def test_the_laws_without_environments_are_finite_at_no_distance() -> None:
    assert path_loss.free_space(0.0, 3.5e9) == 0.0
    assert path_loss.log_distance(0.0, 3.5e9, exponent=3.0) == 0.0
    assert path_loss.tr36942_macro(0.0, 2e9) == path_loss.free_space(1.0, 2e9)


def test_the_floor_is_one_metre() -> None:
    at = {"carrier_hz": 1e9, "height_bs_m": 1.5, "height_ut_m": 1.5, "los": True}
    loss_db = path_loss.tr38901("umi", distance_2d_m=[0.0, 0.5, 1.0, 2.0], **at)
    assert loss_db[0] == loss_db[1] == loss_db[2] == pytest.approx(32.4)
    assert loss_db[3] > loss_db[2]


@pytest.mark.parametrize(
    ("environment", "height_bs_m", "break_point_m"),
    [
        ("umi", 10.0, 210.0),  # 4·9·0.5·3.5e9/3e8
        ("uma", 25.0, 560.0),  # 4·24·0.5·3.5e9/3e8
        ("rma", 35.0, 2.0 * np.pi * 35.0 * 1.5 * 3.5e9 / 3e8),
    ],
)
def test_loss_is_continuous_at_the_break_point(environment: str, height_bs_m: float, break_point_m: float) -> None:
    loss_db = path_loss.tr38901(
        environment,
        distance_2d_m=[break_point_m - 1e-7, break_point_m + 1e-7],
        carrier_hz=3.5e9,
        height_bs_m=height_bs_m,
        height_ut_m=1.5,
        los=True,
    )
    # RMa's far line starts from the 2D break point, so it steps by 20·log10(d3D/dBP), 3e-4 dB here.
    assert loss_db[1] - loss_db[0] == pytest.approx(0.0, abs=1e-6 if environment != "rma" else 1e-3)


IN_RANGE = {
    "umi": {"height_bs_m": 10.0},
    "uma": {"height_bs_m": 25.0},
    "rma": {"height_bs_m": 35.0},
    "inh": {"height_bs_m": 3.0},
    "inf_sl": {"height_bs_m": 1.5},
    "inf_dl": {"height_bs_m": 1.5},
    "inf_sh": {"height_bs_m": 8.0},
    "inf_dh": {"height_bs_m": 8.0},
}


@pytest.mark.parametrize(
    ("environment", "change", "expected"),
    [
        *((environment, {}, True) for environment in IN_RANGE),
        *((environment, {"carrier_hz": 0.4e9}, False) for environment in IN_RANGE),
        *((environment, {"carrier_hz": 101e9}, False) for environment in IN_RANGE),
        *((environment, {"distance_2d_m": np.nan}, False) for environment in IN_RANGE),
        *((environment, {"carrier_hz": 100e9}, environment != "rma") for environment in IN_RANGE),
        ("umi", {"distance_2d_m": 10.0}, True),
        ("umi", {"distance_2d_m": 9.99}, False),
        ("umi", {"distance_2d_m": 5000.0}, True),
        ("umi", {"distance_2d_m": 5000.1}, False),
        ("umi", {"carrier_hz": 0.5e9}, True),
        ("umi", {"height_bs_m": 1.5}, False),
        ("umi", {"height_ut_m": 22.5}, True),
        ("umi", {"height_ut_m": 23.0}, False),
        ("umi", {"height_ut_m": 1.0}, False),
        ("uma", {"height_bs_m": 10.0}, False),
        ("rma", {"height_bs_m": 10.0}, True),
        ("rma", {"height_bs_m": 151.0}, False),
        ("rma", {"height_ut_m": 10.5}, False),
        ("rma", {"carrier_hz": 30e9}, True),
        ("rma", {"distance_2d_m": 6000.0}, False),
        ("rma", {"distance_2d_m": 6000.0, "los": True}, True),
        ("rma", {"street_width_m": 4.0}, False),
        ("rma", {"building_height_m": 51.0}, False),
        ("inh", {"distance_2d_m": 151.0}, False),
        ("inh", {"distance_2d_m": 0.0, "height_ut_m": 2.5}, False),
        ("inf_sl", {"distance_2d_m": 601.0}, False),
        ("inf_sl", {"height_bs_m": 8.0}, False),
        ("inf_sl", {"height_bs_m": 8.0, "clutter_height_m": 9.0}, True),
        ("inf_sh", {"height_bs_m": 2.0}, False),
    ],
)
def test_validity(environment: str, change: dict[str, float], expected: bool) -> None:
    usual = {"distance_2d_m": 100.0, "carrier_hz": 3.5e9, "height_ut_m": 1.5, **IN_RANGE[environment]}
    assert path_loss.in_validity_range(environment, **{**usual, **change}) == expected


def test_validity_ranges_are_told_in_words() -> None:
    for environment in ENVIRONMENTS.values():
        assert f"0.5 to {environment.max_carrier_hz / 1e9:g} GHz" in environment.validity_range


def test_a_terminal_above_the_clutter_sees_a_high_base_station() -> None:
    for height_ut_m in (2.0, 3.0, 8.0):
        probability = path_loss.los_probability("inf_sh", distance_2d_m=[1.0, 500.0], height_ut_m=height_ut_m)
        np.testing.assert_array_equal(probability, [1.0, 1.0])


def test_a_link_between_devices_in_the_clutter_is_that_of_a_low_base_station() -> None:
    devices = {"distance_2d_m": [1.0, 30.0, 200.0], "height_ut_m": 1.2}
    for height_bs_m in (1.2, 1.9):
        np.testing.assert_allclose(
            path_loss.los_probability("inf_sh", height_bs_m=height_bs_m, **devices),
            path_loss.los_probability("inf_sl", height_bs_m=height_bs_m, **devices),
        )


def test_the_macro_cell_is_never_better_than_free_space() -> None:
    distances_m = np.array([1.0, 5.0, 20.0])
    np.testing.assert_array_equal(path_loss.tr36942_macro(distances_m, 2e9), path_loss.free_space(distances_m, 2e9))


def test_log_distance_is_free_space_up_to_the_reference_and_a_power_law_beyond() -> None:
    loss_db = path_loss.log_distance([5.0, 10.0, 100.0], 2e9, exponent=3.5, reference_distance_m=10.0)
    at_reference_db = path_loss.free_space(10.0, 2e9)
    np.testing.assert_allclose(
        loss_db, [path_loss.free_space(5.0, 2e9), at_reference_db, at_reference_db + 35.0], rtol=1e-14
    )
    np.testing.assert_allclose(
        path_loss.log_distance([0.3, 7.0, 900.0], 2e9, exponent=2.0),
        path_loss.free_space([0.3, 7.0, 900.0], 2e9),
        rtol=1e-14,
    )
