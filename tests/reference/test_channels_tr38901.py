"""UMi against scalar code written from the rows of TR 38.901, Tables 7.4.1-1 and 7.4.2-1."""

from math import exp, log10, sqrt

import numpy as np
import pytest

from channels import path_loss

CARRIERS_GHZ = (0.5, 2.0, 3.5, 28.0, 100.0)
HEIGHTS_M = ((10.0, 1.5), (10.0, 4.0), (10.0, 22.5), (1.5, 1.5), (25.0, 10.0))
DISTANCES_M = (10.0, 17.9, 18.0, 18.1, 60.0, 153.0, 171.0, 900.0, 2400.0, 5000.0)


def umi_break_point_m(fc_ghz: float, h_bs: float, h_ut: float) -> float:
    return 4 * (h_bs - 1) * (h_ut - 1) * fc_ghz * 1e9 / 3.0e8


def umi_path_loss_db(d2d: float, fc: float, h_bs: float, h_ut: float, los: bool) -> float:
    d3d = sqrt(d2d**2 + (h_bs - h_ut) ** 2)
    d_bp = umi_break_point_m(fc, h_bs, h_ut)
    if d2d <= d_bp:
        pl_los = 32.4 + 21 * log10(d3d) + 20 * log10(fc)
    else:
        pl_los = 32.4 + 40 * log10(d3d) + 20 * log10(fc) - 9.5 * log10(d_bp**2 + (h_bs - h_ut) ** 2)
    if los:
        return pl_los
    return max(pl_los, 35.3 * log10(d3d) + 22.4 + 21.3 * log10(fc) - 0.3 * (h_ut - 1.5))


def umi_los_probability(d: float) -> float:
    if d <= 18:
        return 1.0
    return 18 / d + exp(-d / 36) * (1 - 18 / d)


@pytest.mark.parametrize("los", [True, False])
@pytest.mark.parametrize(("h_bs", "h_ut"), HEIGHTS_M)
@pytest.mark.parametrize("fc_ghz", CARRIERS_GHZ)
def test_umi_path_loss(fc_ghz: float, h_bs: float, h_ut: float, los: bool) -> None:
    break_point_m = umi_break_point_m(fc_ghz, h_bs, h_ut)
    distances_m = (*DISTANCES_M, 0.99 * break_point_m, 1.01 * break_point_m)
    expected_db = [umi_path_loss_db(d, fc_ghz, h_bs, h_ut, los) for d in distances_m]

    loss_db = path_loss.tr38901(
        "umi", distance_2d_m=distances_m, carrier_hz=fc_ghz * 1e9, height_bs_m=h_bs, height_ut_m=h_ut, los=los
    )

    np.testing.assert_allclose(loss_db, expected_db, rtol=0, atol=1e-9)


def test_the_cases_reach_every_branch() -> None:
    near = [d <= umi_break_point_m(f, *h) for f in CARRIERS_GHZ for h in HEIGHTS_M for d in DISTANCES_M]
    nlos_line_wins = [
        umi_path_loss_db(d, f, *h, False) > umi_path_loss_db(d, f, *h, True)
        for f in CARRIERS_GHZ
        for h in HEIGHTS_M
        for d in DISTANCES_M
    ]
    assert 0 < sum(near) < len(near)
    assert 0 < sum(nlos_line_wins) < len(nlos_line_wins)


def test_umi_worked_by_hand() -> None:
    # 3.5 GHz, 10 m and 1.5 m: break point 4·9·0.5·3.5e9/3e8 = 210 m; log10 of d3D is 2.001563 at 100 m
    # and 2.699033 at 500 m, log10(3.5) is 0.544068, log10(210² + 8.5²) is 4.645150.
    loss_db = path_loss.tr38901(
        "umi",
        distance_2d_m=[100.0, 100.0, 500.0],
        carrier_hz=3.5e9,
        height_bs_m=10.0,
        height_ut_m=1.5,
        los=[True, False, True],
    )
    np.testing.assert_allclose(loss_db, [85.3142, 104.6438, 107.1138], rtol=0, atol=5e-4)


def test_umi_los_probability() -> None:
    distances_m = (0.0, 5.0, *DISTANCES_M)
    probability = path_loss.los_probability("umi", distance_2d_m=distances_m)
    np.testing.assert_allclose(probability, [umi_los_probability(d) for d in distances_m], rtol=0, atol=1e-12)


def test_umi_shadow_fading() -> None:
    std_db = path_loss.shadow_fading_std_db(
        "umi",
        distance_2d_m=[[50.0], [500.0], [4000.0]],
        carrier_hz=3.5e9,
        height_bs_m=10.0,
        height_ut_m=1.5,
        los=[True, False],
    )
    np.testing.assert_array_equal(std_db, [[4.0, 7.82]] * 3)
