"""Antennas of nodes: who points where, and what that gives in the direction of somebody else."""

from __future__ import annotations

import numpy as np
import pytest
from fake_radio import Given, network, radio, simulation

from channels import Sites
from nmoe_sim.engine.beams import Beams
from nmoe_sim.engine.radio.antennas import Isotropic, PlanarArray, Sector


class Compass:
    """A beam a degree of azimuth; a decibel less for every degree beside it, and another for every one of elevation."""

    def beam_towards(self, azimuth_rad, elevation_rad):
        return np.rint(np.rad2deg(azimuth_rad)).astype(np.int64) % 360

    def gain_db(self, beam, azimuth_rad, elevation_rad):
        off_deg = (np.rad2deg(azimuth_rad) - beam + 180) % 360 - 180
        return 50.0 - np.abs(off_deg) - np.abs(np.rad2deg(elevation_rad))


# a device to the east, one to the north and one to the north-east of a base station that looks north
SITES = Sites.static([(100, 0), (0, 100), (100, 100), (0, 0)], 1.5, is_station=[False, False, False, True])
EAST, NORTH, NORTH_EAST, STATION = range(4)
BORESIGHT_DEG = np.array([0.0, 0.0, 0.0, 90.0])


def gain_db(beams: Beams, at: int, peer: int, towards: int, t_s: float = 0.0) -> float:
    [gain] = beams.gain(np.array([at]), np.array([peer]), np.array([towards]), t_s)
    return float(10 * np.log10(gain))


def test_a_node_points_at_its_peer_and_others_hear_what_is_left() -> None:
    beams = Beams(SITES, BORESIGHT_DEG, Compass(), Isotropic(gain_dbi=2.0))
    assert gain_db(beams, STATION, EAST, EAST) == pytest.approx(50.0)
    assert gain_db(beams, STATION, EAST, NORTH) == pytest.approx(50.0 - 90)
    assert gain_db(beams, STATION, EAST, NORTH_EAST) == pytest.approx(50.0 - 45)
    assert gain_db(beams, STATION, NORTH, NORTH_EAST) == pytest.approx(50.0 - 45)
    for towards in (EAST, NORTH_EAST, STATION):
        assert gain_db(beams, NORTH, STATION, towards) == pytest.approx(2.0)


def test_both_ends_have_their_kinds_antenna() -> None:
    beams = Beams(SITES, BORESIGHT_DEG, Compass(), Isotropic(gain_dbi=2.0))
    src, dst = np.array([STATION, NORTH, EAST]), np.array([NORTH, STATION, NORTH])
    np.testing.assert_allclose(10 * np.log10(beams.link_gain(src, dst, 0.0)), [52.0, 52.0, 4.0])


def test_many_at_once_are_those_one_by_one() -> None:
    beams = Beams(SITES, BORESIGHT_DEG, PlanarArray(downtilt_deg=5.0), PlanarArray(num_rows=1, num_columns=4))
    at, peer, towards = (x.ravel() for x in np.meshgrid(range(4), range(4), range(4)))
    sense = (at != peer) & (at != towards)
    at, peer, towards = at[sense], peer[sense], towards[sense]
    together = beams.gain(at, peer, towards, 0.0)
    for i in range(0, len(at), 5):
        assert together[[i]] == beams.gain(at[[i]], peer[[i]], towards[[i]], 0.0)
    grid = (x.reshape(2, -1) for x in (at, peer, towards))
    np.testing.assert_array_equal(beams.gain(*grid, 0.0).ravel(), together)


@pytest.mark.parametrize(("azimuth_deg", "off_deg"), [(0.0, 0.0), (30.0, 30.0), (350.0, 10.0), (90.0, 90.0)])
def test_a_sector_looks_where_its_azimuth_says(azimuth_deg: float, off_deg: float) -> None:
    """TR 38.901, Table 7.3-1: 8 dBi less 12 (φ / 65°)², 30 dB at most; everybody at one height."""
    beams = Beams(SITES, np.array([0.0, 0.0, 0.0, azimuth_deg]), Sector(), Isotropic())
    assert gain_db(beams, STATION, NORTH, EAST) == pytest.approx(8.0 - min(30.0, 12 * (off_deg / 65) ** 2))


def test_an_antenna_without_an_azimuth_turns_to_whom_it_talks_to() -> None:
    turning = Beams(SITES, np.full(4, np.nan), Sector(), Isotropic())
    assert gain_db(turning, STATION, NORTH, NORTH) == pytest.approx(8.0)
    assert gain_db(turning, STATION, EAST, EAST) == pytest.approx(8.0)
    assert gain_db(turning, STATION, NORTH, EAST) == pytest.approx(8.0 - min(30.0, 12 * (90 / 65) ** 2))


def test_elevations_count_heights() -> None:
    """The station is 100 m above a device 100 m away: 45 degrees down, up from below."""
    sites = Sites.static([(100, 0), (0, 0)], [1.0, 101.0], is_station=[False, True])
    beams = Beams(sites, np.zeros(2), Compass(), Compass())
    assert gain_db(beams, 1, 0, 0) == pytest.approx(50.0 - 45.0)
    for tilt_deg, expected in ((45.0, 8.0), (0.0, 8.0 - 12 * (45 / 65) ** 2)):
        beams = Beams(sites, np.zeros(2), Sector(downtilt_deg=tilt_deg), Isotropic())
        assert gain_db(beams, 1, 0, 0) == pytest.approx(expected)
    azimuth, elevation = Beams(sites, np.array([0.0, 20.0]), Compass(), Compass()).direction(
        np.array([1, 0]), np.array([0, 1]), 0.0
    )
    np.testing.assert_allclose(np.cos(azimuth - np.deg2rad([0, 180])), 1.0)
    np.testing.assert_allclose(np.rad2deg(elevation), [-45.0, 45.0])


def test_beams_follow_positions() -> None:
    before_m, after_m = SITES.at([0.0]), SITES.at([0.0])[:, [NORTH_EAST, NORTH, EAST, STATION]]
    beams = Beams(
        SITES.moving(lambda t_s: np.where(t_s[:, None, None] < 1.0, before_m, after_m), 0.5),
        BORESIGHT_DEG,
        Compass(),
        Isotropic(),
    )
    assert gain_db(beams, STATION, EAST, NORTH, 0.9) == pytest.approx(50.0 - 90)
    for t_s in (1.0, 1.3):
        assert gain_db(beams, STATION, EAST, NORTH, t_s) == pytest.approx(50.0 - 45)
        assert gain_db(beams, STATION, EAST, NORTH_EAST, t_s) == pytest.approx(50.0 - 45)
        assert gain_db(beams, STATION, NORTH_EAST, NORTH, t_s) == pytest.approx(50.0 - 90)


def test_antennas_that_do_nothing_cost_nothing() -> None:
    topology = network(["a-bs0"])
    assert simulation(topology, radio()).ether.beams is None
    assert simulation(topology, radio(device_antenna=Isotropic(gain_dbi=3.0))).ether.beams is not None
    assert simulation(topology, radio(base_station_antenna=Sector())).ether.beams is not None


def test_antennas_are_in_the_received_power() -> None:
    """10 W over a gain of -90 dB, 3 dB and 5 dB of antennas: 40 - 90 + 8 dBm."""
    settings = {"device_antenna": Isotropic(gain_dbi=3.0), "base_station_antenna": Isotropic(gain_dbi=5.0)}
    run = simulation(network(["a-bs0"]), radio(channel=Given(lambda a, b, t: 1e-9), **settings))
    np.testing.assert_allclose(run.received_dbm(0.0), [[-42.0]])
