"""TR 38.901 against sionna-no-rt, where it is installed: inside the validity ranges, within 0.02 dB."""

import warnings
from typing import Any

import numpy as np
import pytest

from channels import path_loss

pytest.importorskip("sionna")

CARRIERS_HZ = (0.7e9, 3.5e9, 28e9)
DISTANCES_M = np.concatenate([np.geomspace(1.0, 9900.0, 57), [6.4, 6.6, 17.5, 18.5, 49.5]])
HEIGHTS_BS_M = {
    "umi": (10.0,),
    "uma": (25.0,),
    "rma": (12.0, 35.0, 140.0),
    "inh": (3.0,),
    "inf_sl": (1.6,),
    "inf_dl": (5.0,),
    "inf_sh": (8.0,),
    "inf_dh": (8.0,),
}
HEIGHTS_UT_M = {
    "umi": (1.5, 6.0, 22.5),
    "uma": (1.5, 12.9),  # above 13 m its effective environment height is random
    "rma": (1.0, 1.5, 10.0),
    "inh": (1.0, 2.5),
    "inf_sl": (1.0, 1.5),
    "inf_dl": (1.0, 4.0),
    "inf_sh": (1.0, 1.9),
    "inf_dh": (1.0, 4.0),
}
BREAK_POINTS = {"umi": (4.0, 1.0), "uma": (4.0, 1.0), "rma": (2.0 * np.pi, 0.0)}


def peer(environment: str, carrier_hz: float, height_bs_m: float, heights_ut_m: np.ndarray, los: bool, **keywords: Any):
    """Sionna's scenario with a base station at the origin and a terminal at every distance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from sionna.phy.channel import tr38901

        array = tr38901.PanelArray(
            num_rows_per_panel=1,
            num_cols_per_panel=1,
            polarization="single",
            polarization_type="V",
            antenna_pattern="omni",
            carrier_frequency=carrier_hz,
            precision="double",
        )
        common = {"ut_array": array, "bs_array": array, "direction": "uplink", "precision": "double"}
        common |= {"spec_version": "16.1", **keywords}
        name, _, hall = environment.partition("_")
        if name == "inf":
            scenario = tr38901.InFScenario(carrier_hz, hall, **common)
        elif name == "inh":
            scenario = tr38901.InHScenario(carrier_hz, common.pop("office", "mixed"), **common)
        elif name == "rma":
            scenario = tr38901.RMaScenario(carrier_hz, **common)
        else:
            scenario = {"umi": tr38901.UMiScenario, "uma": tr38901.UMaScenario}[name](carrier_hz, "low", **common)
        terminals = np.stack([DISTANCES_M, np.zeros_like(DISTANCES_M), heights_ut_m], axis=-1)[None]
        still = torch.zeros(terminals.shape, dtype=torch.float64)
        scenario.set_topology(
            ut_loc=torch.tensor(terminals),
            bs_loc=torch.tensor([[[0.0, 0.0, height_bs_m]]], dtype=torch.float64),
            ut_orientations=still,
            bs_orientations=still[:, :1],
            ut_velocities=still,
            in_state=torch.full(terminals.shape[:2], name in ("inh", "inf")),
            los=los,
            **({"in_car": torch.zeros(terminals.shape[:2], dtype=torch.bool)} if name == "rma" else {}),
        )
        return scenario


def of_interest(environment: str, arguments: dict[str, Any]) -> np.ndarray:
    """Inside the validity range, and not where c = 3e8 m/s puts the break point on the other side."""
    inside = path_loss.in_validity_range(environment, **arguments)
    if environment in BREAK_POINTS:
        factor, ground_m = BREAK_POINTS[environment]
        above_m = (arguments["height_bs_m"] - ground_m) * (arguments["height_ut_m"] - ground_m)
        break_point_m = factor * above_m * arguments["carrier_hz"] / 3e8
        inside &= np.abs(DISTANCES_M / break_point_m - 1.0) > 0.001
    return inside


@pytest.mark.parametrize("los", [True, False])
@pytest.mark.parametrize("environment", HEIGHTS_BS_M)
def test_path_loss_and_shadow_fading(environment: str, los: bool) -> None:
    num_compared = 0
    for carrier_hz in CARRIERS_HZ:
        for height_bs_m in HEIGHTS_BS_M[environment]:
            for height_ut_m in HEIGHTS_UT_M[environment]:
                arguments = {
                    "distance_2d_m": DISTANCES_M,
                    "carrier_hz": carrier_hz,
                    "height_bs_m": height_bs_m,
                    "height_ut_m": height_ut_m,
                    "los": los,
                }
                inside = of_interest(environment, arguments)
                num_compared += np.count_nonzero(inside)
                scenario = peer(environment, carrier_hz, height_bs_m, np.full_like(DISTANCES_M, height_ut_m), los)
                loss_db = path_loss.tr38901(environment, **arguments)
                peer_loss_db = scenario.basic_pathloss[0, 0].numpy()
                np.testing.assert_allclose(loss_db[inside], peer_loss_db[inside], rtol=0, atol=0.02)
                std_db = path_loss.shadow_fading_std_db(environment, **arguments)
                peer_std_db = 10.0 * scenario.lsp_log_std[0, 0, :, 3].numpy()
                np.testing.assert_allclose(std_db[inside], peer_std_db[inside], rtol=0, atol=1e-9)
    assert num_compared > 100


@pytest.mark.parametrize(("environment", "office"), [*((name, "mixed") for name in HEIGHTS_BS_M), ("inh", "open")])
def test_los_probability(environment: str, office: str) -> None:
    keywords = {"office": office} if environment == "inh" else {}
    for height_bs_m in HEIGHTS_BS_M[environment]:
        for height_ut_m in (*HEIGHTS_UT_M[environment], *((22.5,) if environment == "uma" else ())):
            scenario = peer(environment, 3.5e9, height_bs_m, np.full_like(DISTANCES_M, height_ut_m), True, **keywords)
            probability = path_loss.los_probability(
                environment,
                distance_2d_m=DISTANCES_M,
                height_bs_m=height_bs_m,
                height_ut_m=height_ut_m,
                office=office,
            )
            peer_probability = np.minimum(scenario.los_probability[0, 0].numpy(), 1.0)  # UMa exceeds 1 beyond 18 m
            np.testing.assert_allclose(probability, peer_probability, rtol=0, atol=1e-9)


def test_settings_of_streets_and_clutter() -> None:
    streets = {"average_street_width": 12.0, "average_building_height": 9.0}
    heights_m = np.full_like(DISTANCES_M, 1.5)
    scenario = peer("rma", 2e9, 30.0, heights_m, False, **streets)
    arguments = {"distance_2d_m": DISTANCES_M, "carrier_hz": 2e9, "height_bs_m": 30.0, "height_ut_m": 1.5, "los": False}
    inside = of_interest("rma", arguments)
    loss_db = path_loss.tr38901("rma", **arguments, street_width_m=12.0, building_height_m=9.0)
    np.testing.assert_allclose(loss_db[inside], scenario.basic_pathloss[0, 0].numpy()[inside], rtol=0, atol=0.02)

    clutter = {"clutter_density": 0.35, "clutter_size": 4.0, "clutter_height": 3.0}
    scenario = peer("inf_sh", 3.5e9, 7.0, heights_m, True, **clutter)
    probability = path_loss.los_probability(
        "inf_sh",
        distance_2d_m=DISTANCES_M,
        height_bs_m=7.0,
        height_ut_m=1.5,
        clutter_density=0.35,
        clutter_size_m=4.0,
        clutter_height_m=3.0,
    )
    np.testing.assert_allclose(probability, scenario.los_probability[0, 0].numpy(), rtol=0, atol=1e-9)
