import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import path_loss
from channels.environments import ENVIRONMENTS

environments = st.sampled_from(sorted(ENVIRONMENTS))
carriers_hz = st.floats(0.5e9, 100e9)
distances_m = st.floats(0.0, 20_000.0)
steps_m = st.floats(0.0, 5000.0)
heights_bs_m = st.floats(0.5, 150.0)
heights_ut_m = st.floats(0.5, 23.0)


@given(environments, distances_m, steps_m, carriers_hz, heights_bs_m, heights_ut_m, st.booleans())
def test_loss_rises_with_distance(
    environment: str, near_m: float, step_m: float, carrier_hz: float, bs_m: float, ut_m: float, los: bool
) -> None:
    near_db, far_db = path_loss.tr38901(
        environment,
        distance_2d_m=[near_m, near_m + step_m],
        carrier_hz=carrier_hz,
        height_bs_m=bs_m,
        height_ut_m=ut_m,
        los=los,
    )
    assert far_db >= near_db - 1e-9


@given(environments, distances_m, carriers_hz, st.floats(1.0, 10.0), heights_bs_m, heights_ut_m, st.booleans())
def test_loss_rises_with_the_carrier(
    environment: str, distance_m: float, carrier_hz: float, factor: float, bs_m: float, ut_m: float, los: bool
) -> None:
    low_db, high_db = path_loss.tr38901(
        environment,
        distance_2d_m=distance_m,
        carrier_hz=[carrier_hz, factor * carrier_hz],
        height_bs_m=bs_m,
        height_ut_m=ut_m,
        los=los,
    )
    assert high_db >= low_db - 1e-9


@given(environments, distances_m, carriers_hz, heights_bs_m, heights_ut_m)
def test_obstacles_never_help(environment: str, distance_m: float, carrier_hz: float, bs_m: float, ut_m: float) -> None:
    los_db, nlos_db = path_loss.tr38901(
        environment,
        distance_2d_m=distance_m,
        carrier_hz=carrier_hz,
        height_bs_m=bs_m,
        height_ut_m=ut_m,
        los=[True, False],
    )
    assert nlos_db >= los_db


@pytest.mark.parametrize("office", ["mixed", "open"])
@given(environments, distances_m, steps_m, heights_bs_m, heights_ut_m)
def test_line_of_sight_is_a_probability_that_falls_with_distance(
    office: str, environment: str, near_m: float, step_m: float, bs_m: float, ut_m: float
) -> None:
    near, far = path_loss.los_probability(
        environment, distance_2d_m=[near_m, near_m + step_m], height_bs_m=bs_m, height_ut_m=ut_m, office=office
    )
    rise = 0.003 if (environment, office) == ("inh", "open") else 1e-12  # where the TR's formulas meet, at 49 m
    assert 0.0 <= far <= near + rise
    assert near <= 1.0


@given(distances_m, steps_m, carriers_hz, st.floats(1.0, 50.0))
def test_the_other_laws_rise_with_distance_and_never_beat_free_space(
    near_m: float, step_m: float, carrier_hz: float, rooftop_m: float
) -> None:
    both_m = np.array([near_m, near_m + step_m])
    for loss_db in (
        path_loss.free_space(both_m, carrier_hz),
        path_loss.log_distance(both_m, carrier_hz, exponent=3.0),
        path_loss.tr36942_macro(both_m, carrier_hz, antenna_above_rooftop_m=rooftop_m),
    ):
        assert loss_db[1] >= loss_db[0] - 1e-9
        assert np.all(loss_db >= path_loss.free_space(both_m, carrier_hz) - 1e-9)
