import numpy as np
import pytest

from channels import path_loss

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


def test_arguments_broadcast() -> None:
    arguments = {
        "distance_2d_m": np.full((2, 1, 1), 100.0),
        "carrier_hz": np.array([3.5e9, 28e9, 1e9]),
        "height_bs_m": 10.0,
        "height_ut_m": np.full((4, 1), 1.5),
    }
    los = np.ones((5, 1, 1, 1), dtype=bool)
    assert path_loss.tr38901("umi", los=los, **arguments).shape == (5, 2, 4, 3)
    assert path_loss.shadow_fading_std_db("umi", los=los, **arguments).shape == (5, 2, 4, 3)
    assert path_loss.in_validity_range("umi", **arguments).shape == (2, 4, 3)
    assert path_loss.los_probability("umi", distance_2d_m=np.ones((2, 1)), height_ut_m=np.ones(3)).shape == (2, 3)


def test_degenerate_arguments_give_finite_values_without_warnings() -> None:
    for height_m in (0.0, 1.0, 1.5, 10.0):
        loss_db = path_loss.tr38901(
            "umi",
            distance_2d_m=[0.0, 1e-9, 1e6],
            carrier_hz=[[1e6], [1e12]],
            height_bs_m=height_m,
            height_ut_m=height_m,
            los=False,
        )
        assert np.all(np.isfinite(loss_db))
    assert path_loss.free_space(0.0, 3.5e9) == 0.0
    assert path_loss.log_distance(0.0, 3.5e9, exponent=3.0) == 0.0
    assert path_loss.los_probability("umi", distance_2d_m=0.0) == 1.0


def test_the_floor_is_one_metre() -> None:
    at = {"carrier_hz": 1e9, "height_bs_m": 1.5, "height_ut_m": 1.5, "los": True}
    loss_db = path_loss.tr38901("umi", distance_2d_m=[0.0, 0.5, 1.0, 2.0], **at)
    assert loss_db[0] == loss_db[1] == loss_db[2] == pytest.approx(32.4)
    assert loss_db[3] > loss_db[2]


def test_umi_is_continuous_at_the_break_point() -> None:
    # 4·9·0.5·3.5e9/3e8 = 210 m
    loss_db = path_loss.tr38901("umi", distance_2d_m=[210.0 - 1e-7, 210.0 + 1e-7], los=True, **UMI)
    assert loss_db[1] - loss_db[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"distance_2d_m": 10.0}, True),
        ({"distance_2d_m": 9.99}, False),
        ({"distance_2d_m": 5000.0}, True),
        ({"distance_2d_m": 5000.1}, False),
        ({"carrier_hz": 0.5e9}, True),
        ({"carrier_hz": 0.4e9}, False),
        ({"carrier_hz": 100e9}, True),
        ({"carrier_hz": 101e9}, False),
        ({"height_bs_m": 1.5}, False),
        ({"height_ut_m": 22.5}, True),
        ({"height_ut_m": 23.0}, False),
        ({"height_ut_m": 1.0}, False),
        ({"distance_2d_m": np.nan}, False),
    ],
)
def test_umi_validity(change: dict[str, float], expected: bool) -> None:
    assert path_loss.in_validity_range("umi", **{"distance_2d_m": 100.0, **UMI, **change}) == expected


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
