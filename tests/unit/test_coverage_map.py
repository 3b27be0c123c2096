"""The map of a scenario against hand computation, its symmetry, and the run it is the map of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, tiny_scenario

from channels.mobility import Box
from nmoe_sim import InputError, Scenario, load_scenario
from nmoe_sim.checks import Layout, check
from nmoe_sim.coverage import coverage_map, node_table, quantiles
from nmoe_sim.engine import full_load
from nmoe_sim.engine.beams import Beams
from nmoe_sim.engine.link_samples import record_links
from nmoe_sim.engine.links import Node
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.rng import RandomStreams

FREE_SPACE: dict[str, Any] = {
    "radio.path_loss": {"kind": "free_space"},
    "radio.shadowing": {"kind": "none"},
    "radio.fading": {"kind": "none"},
}


def laid_out(stations: Sequence[tuple[float, float]], bounds_m: Box, azimuth_deg: float | None = None) -> Layout:
    """One device and base stations at given places."""
    nodes = [Node("dev0", "device", 0.0, 0.0)]
    nodes += [Node(f"bs{i}", "base_station", x_m, y_m, azimuth_deg) for i, (x_m, y_m) in enumerate(stations)]
    pairs = [("dev0", node.name) for node in nodes[1:]]
    return dataclasses.replace(check(tiny_scenario()), topology=Topology(nodes, pairs, bounds_m=bounds_m))


def two_cells(
    *, resolution_m: float = 10.0, azimuth_deg: float | None = None, **changes: Any
) -> tuple[pd.DataFrame, Scenario]:
    scenario = tiny_scenario({**FREE_SPACE, **changes})
    layout = laid_out([(-50.0, 0.0), (50.0, 0.0)], (-100.0, -50.0, 100.0, 50.0), azimuth_deg)
    return coverage_map(scenario, resolution_m=resolution_m, layout=layout), scenario


def test_two_stations_in_free_space_by_hand() -> None:
    frame, scenario = two_cells()
    radio = scenario.radio
    point = frame.set_index(["x_m", "y_m"]).loc[(-15.0, 25.0)]

    def received_dbm(station_x_m: float) -> float:
        up_m = radio.base_station_height_m - radio.device_height_m
        distance_m = np.sqrt((-15.0 - station_x_m) ** 2 + 25.0**2 + up_m**2)
        loss_db = 20 * np.log10(4 * np.pi * distance_m * radio.carrier_hz / 299_792_458.0)
        return float(radio.base_station_tx_power_dbm - loss_db)

    own_dbm, other_dbm = received_dbm(-50.0), received_dbm(50.0)
    noise_dbm = 10 * np.log10(1.380649e-23 * 290 * radio.bandwidth_hz * 1e3) + radio.noise_figure_db
    disturbed_dbm = 10 * np.log10(10 ** (noise_dbm / 10) + 10 ** (other_dbm / 10))
    efficiency = np.log2(1 + 10 ** ((own_dbm - disturbed_dbm - radio.link_adaptation.gap_db) / 10))
    assert point["station"] == "bs0"
    assert point["is_los"]
    assert point["received_dbm"] == pytest.approx(own_dbm, abs=1e-9)
    assert point["snr_db"] == pytest.approx(own_dbm - noise_dbm, abs=1e-9)
    assert point["sinr_db"] == pytest.approx(own_dbm - disturbed_dbm, abs=1e-9)
    assert point["rate_bps"] == pytest.approx(radio.bandwidth_hz * efficiency, rel=1e-9)


def test_the_grid_is_regular_around_the_middle_and_goes_north_by_rows() -> None:
    frame, _ = two_cells()
    assert len(frame) == 20 * 10
    assert frame["x_m"].to_numpy()[:20].tolist() == np.arange(-95.0, 100.0, 10.0).tolist()
    assert frame["y_m"].to_numpy()[::20].tolist() == np.arange(-45.0, 50.0, 10.0).tolist()


def test_a_symmetric_network_has_a_symmetric_map() -> None:
    frame, _ = two_cells()
    for column in ("received_dbm", "snr_db", "sinr_db", "rate_bps"):
        grid = frame.pivot(index="y_m", columns="x_m", values=column).to_numpy()
        np.testing.assert_allclose(grid, grid[:, ::-1], rtol=1e-9)
        np.testing.assert_allclose(grid, grid[::-1], rtol=1e-9)
    assert set(frame["station"]) == {"bs0", "bs1"}
    assert (frame["station"] == np.where(frame["x_m"] < 0, "bs0", "bs1")).all()


def test_stations_on_parts_of_the_band_do_not_interfere() -> None:
    whole, _ = two_cells()
    parts, _ = two_cells(**{"radio.reuse_factor": 2})
    assert (whole["sinr_db"] < whole["snr_db"] - 10).mean() > 0.9
    np.testing.assert_array_equal(parts["sinr_db"], parts["snr_db"])
    np.testing.assert_allclose(parts["snr_db"], whole["snr_db"] + 10 * np.log10(2), rtol=1e-12)


def test_who_serves_nobody_is_silent() -> None:
    scenario = tiny_scenario(FREE_SPACE)
    far = laid_out([(0.0, 0.0), (500.0, 0.0)], (-100.0, -100.0, 100.0, 100.0))
    frame = coverage_map(scenario, resolution_m=50.0, layout=far)
    assert set(frame["station"]) == {"bs0"}
    np.testing.assert_array_equal(frame["sinr_db"], frame["snr_db"])


@pytest.mark.parametrize("azimuth_deg", [None, 30.0])
def test_interferers_count_with_their_beams_on_average(azimuth_deg: float | None) -> None:
    array = {"kind": "upa", "num_rows": 2, "num_columns": 4}
    antennas_of = {"radio.base_station_antenna": array, "radio.device_antenna": array}
    frame, scenario = two_cells(resolution_m=20.0, azimuth_deg=azimuth_deg, **antennas_of)
    plain, _ = two_cells(resolution_m=20.0)
    sites = full_load.Sites.static(
        np.concatenate([[(-50.0, 0.0), (50.0, 0.0)], frame[["x_m", "y_m"]].to_numpy()]),
        np.append([10.0, 10.0], np.full(len(frame), 1.5)),
        is_station=np.arange(len(frame) + 2) < 2,
    )
    antennas = (scenario.radio.base_station_antenna, scenario.radio.device_antenna)
    boresight_deg = np.full(len(sites), np.nan)
    boresight_deg[:2] = np.nan if azimuth_deg is None else azimuth_deg
    beams = Beams(sites, boresight_deg, *antennas)
    points = 2 + np.arange(len(frame))
    of_other = points[frame["station"] == "bs1"]
    assert len(of_other) < 64
    for i in np.flatnonzero((frame["station"] == "bs0") & (plain["station"] == "bs0"))[::5]:
        here = np.full(len(of_other), points[i])
        tx_gain = beams.gain(np.ones_like(here), of_other, here, 0.0).mean()
        rx_gain = beams.gain(points[[i]], np.array([0]), np.array([1]), 0.0)[0]
        link_gain = beams.link_gain(np.array([0]), points[[i]], 0.0)[0]
        noise = 10 ** ((plain["received_dbm"] - plain["snr_db"])[i] / 10)
        plain_interference = 10 ** ((plain["received_dbm"] - plain["sinr_db"])[i] / 10) - noise
        signal = link_gain * 10 ** (plain["received_dbm"][i] / 10)
        sinr = signal / (noise + tx_gain * rx_gain * plain_interference)
        assert frame["sinr_db"][i] == pytest.approx(10 * np.log10(sinr), abs=1e-6)


@pytest.fixture(scope="module")
def multi_cell() -> Scenario:
    return load_scenario(REPOSITORY / "scenarios" / "multi_cell.yaml")


def test_interference_only_lowers_the_sinr(multi_cell: Scenario) -> None:
    frame = coverage_map(multi_cell, resolution_m=20.0)
    assert (frame["sinr_db"] < frame["snr_db"]).all()
    assert frame["station"].nunique() == 9
    assert 0.1 < frame["is_los"].mean() < 0.9
    alone = coverage_map(tiny_scenario(), resolution_m=20.0)
    np.testing.assert_array_equal(alone["sinr_db"], alone["snr_db"])
    assert alone["received_dbm"].std() > 5


def test_the_map_is_that_of_the_run(multi_cell: Scenario) -> None:
    layout = check(multi_cell)
    simulation = Simulation.build(layout.topology, layout.profiles, multi_cell.radio, RandomStreams(multi_cell.seed))
    record_links(simulation)
    links = simulation.recorder.arrow("links").to_pandas().drop_duplicates(["src", "dst"]).set_index(["src", "dst"])
    received_dbm = simulation.received_dbm(0.0)
    names = [node.name for node in layout.topology.base_stations]
    for i, device in enumerate(layout.topology.devices):
        layout.topology.bounds_m = (device.x_m, device.y_m, device.x_m, device.y_m)
        [point] = coverage_map(multi_cell, layout=layout).itertuples()
        assert point.received_dbm == pytest.approx(received_dbm[i].max(), abs=1e-9)
        assert point.station == names[int(np.argmax(received_dbm[i]))]
        link = links.loc[(point.station, device.name)]
        assert bool(link["los"]) == point.is_los
        antenna_db = point.received_dbm - multi_cell.radio.base_station_tx_power_dbm + link["path_loss_db"]
        assert -22 <= antenna_db <= 8


def test_path_loss_of_the_map_is_that_of_the_table_links() -> None:
    scenario = tiny_scenario()
    layout = check(scenario)
    simulation = Simulation.build(layout.topology, layout.profiles, scenario.radio, RandomStreams(scenario.seed))
    record_links(simulation)
    links = simulation.recorder.arrow("links").to_pandas()
    for device in layout.topology.devices:
        layout.topology.bounds_m = (device.x_m, device.y_m, device.x_m, device.y_m)
        [point] = coverage_map(scenario, layout=layout).itertuples()
        [path_loss_db] = links.loc[(links["src"] == "bs0") & (links["dst"] == device.name), "path_loss_db"].unique()
        assert scenario.radio.base_station_tx_power_dbm - point.received_dbm == pytest.approx(path_loss_db, abs=1e-9)


def test_another_seed_is_another_map_and_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = coverage_map(tiny_scenario(), resolution_m=40.0)
    assert (frame["received_dbm"] != coverage_map(tiny_scenario({"seed": 4}), resolution_m=40.0)["received_dbm"]).all()
    monkeypatch.setattr(full_load, "_AT_ONCE", 7)
    pd.testing.assert_frame_equal(coverage_map(tiny_scenario(), resolution_m=40.0), frame, rtol=1e-9)


MESH: dict[str, Any] = {
    "topology": {"kind": "grid", "num_devices": 3, "spacing_m": 20.0},
    "radio.path_loss": {"kind": "log_distance"},
    "radio.shadowing": {"kind": "none"},
}


@pytest.mark.parametrize("sidelinks", ["time_shared", "concurrent"])
def test_without_base_stations_it_is_the_map_of_the_best_neighbour(sidelinks: str) -> None:
    scenario = tiny_scenario({**MESH, "radio.sidelinks": sidelinks})
    layout = check(scenario)
    layout.topology.bounds_m = (-60.0, -60.0, 100.0, 100.0)
    frame = coverage_map(scenario, resolution_m=3.0, layout=layout)
    nodes = node_table(scenario).set_index("device")
    distance_m = np.hypot(*(frame[axis].to_numpy()[:, None] - nodes[axis].to_numpy() for axis in ("x_m", "y_m")))
    range_m = layout.topology.sidelink_range_m
    assert range_m is not None
    in_reach = distance_m.min(axis=1) <= range_m
    assert 0.1 < in_reach.mean() < 0.9
    nearest = nodes.index.to_numpy()[np.argmin(distance_m, axis=1)]
    assert (frame["station"] == nearest)[in_reach].all()
    assert frame.loc[~in_reach, "station":].isna().all(axis=None)
    assert frame.loc[in_reach, "station":].notna().all(axis=None)
    silent = frame.loc[in_reach, "sinr_db"] == frame.loc[in_reach, "snr_db"]
    assert silent.all() if sidelinks == "time_shared" else not silent.any()


def test_what_cannot_be_mapped_is_an_error() -> None:
    scenario = tiny_scenario({"radio.channel": {"kind": "sionna"}})
    with pytest.raises(InputError, match=r"radio\.channel\.kind: 'sionna' knows gains between the nodes"):
        coverage_map(scenario)
    with pytest.raises(InputError, match="--resolution -1: must be a number of metres above 0"):
        coverage_map(tiny_scenario(), resolution_m=-1.0)
    with pytest.raises(InputError, match=r"--resolution 0\.001: .* more than 20,000,000; take points farther apart"):
        coverage_map(tiny_scenario(), resolution_m=1e-3)


def test_quantiles_are_of_the_area_that_is_served() -> None:
    values = np.append(np.arange(101.0), np.nan)
    columns = ("received_dbm", "snr_db", "sinr_db", "rate_bps")
    table = quantiles(pd.DataFrame(dict.fromkeys(columns, values))).set_index("quantity")
    assert table.loc["SINR (dB)"].tolist() == [5.0, 50.0, 95.0]
    assert table.loc["rate (Mbit/s)", "median"] == pytest.approx(50e-6)


def test_sectors_have_their_boresights(multi_cell: Scenario) -> None:
    nodes = node_table(multi_cell)
    assert nodes.loc[nodes["kind"] == "device", "azimuth_deg"].isna().all()
    assert nodes.loc[nodes["kind"] == "base_station", "azimuth_deg"].tolist() == [30.0, 150.0, 270.0] * 3
