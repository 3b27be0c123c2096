"""Gains between nodes: a function of the pair and the time, whoever else there is and however they are asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import channels.channel
from channels import Channel, LinkGeometry, Sites
from channels.units import db_to_linear
from nmoe_sim.engine.radio.fading import NoFading, Rayleigh
from nmoe_sim.engine.radio.path_loss import FreeSpace, LogDistance, UrbanMicro
from nmoe_sim.engine.radio.shadowing import LogNormal, NoShadowing
from nmoe_sim.rng import RandomStreams

NUM_DEVICES, NUM_STATIONS = 40, 3
XY_M = RandomStreams(1).generator("places").uniform(-200.0, 200.0, (NUM_DEVICES + NUM_STATIONS, 2))
DEVICES, STATIONS = np.arange(NUM_DEVICES), np.arange(NUM_DEVICES, NUM_DEVICES + NUM_STATIONS)
HEIGHTS_M = np.where(np.arange(len(XY_M)) < NUM_DEVICES, 1.5, 10.0)
SITES = Sites.static(XY_M, HEIGHTS_M, is_station=HEIGHTS_M > 5)
UP = np.tile(DEVICES, 3), np.repeat(STATIONS, NUM_DEVICES)
"""Every device to every base station."""


def make(sites: Sites = SITES, *, seed: int = 3, **settings: Any) -> Channel:
    laws = {"path_loss": UrbanMicro(), "shadowing": LogNormal(), "fading": Rayleigh(coherence_time_s=0.05)}
    return Channel(sites, carrier_hz=3.5e9, uniform=RandomStreams(seed).uniform, **{**laws, **settings})


# --- a function of pair and time ------------------------------------------------------------------------


def test_gains_do_not_depend_on_order_or_on_what_is_asked_together() -> None:
    src, dst = UP
    blocks = np.array([0, 1, 7, 10**9, 2**40])
    whole = make().power_gain(src, dst, blocks)
    assert whole.shape == (5, 120, 1)
    assert len(np.unique(whole)) == whole.size

    channel = make()
    backwards = channel.power_gain(src[::-1], dst[::-1], blocks[::-1])
    np.testing.assert_array_equal(backwards[::-1, ::-1], whole)
    for t, block in enumerate(blocks):
        for m in (0, 17, 119):
            assert channel.power_gain(src[m], dst[m], block)[0, 0, 0] == whole[t, m, 0]


def test_adding_devices_changes_no_other_gain() -> None:
    """Identities are the devices', not their positions in the arrays: base stations keep theirs."""
    few = np.r_[0:5, STATIONS]
    ids = np.r_[DEVICES, (1 << 23) + np.arange(NUM_STATIONS)]
    all_of_them = Sites.static(XY_M, HEIGHTS_M, ids=ids)
    some_of_them = Sites.static(XY_M[few], HEIGHTS_M[few], ids=ids[few])
    src, dst = np.array([0, 4, 6, 2]), np.array([5, 7, 1, 3])
    for laws in ({}, {"path_loss": LogDistance(decorrelation_m=0.0, shadow_std_db=8.0)}):
        gain = make(some_of_them, **laws).power_gain(src, dst, [4, 5])
        np.testing.assert_array_equal(gain, make(all_of_them, **laws).power_gain(few[src], few[dst], [4, 5]))


def test_another_seed_is_another_channel() -> None:
    one, other = (make(seed=seed).large_scale(*UP, 0.0).mean_gain_db for seed in (3, 4))
    assert np.all(one != other)


@pytest.mark.parametrize("fading", [NoFading(), Rayleigh(), Rayleigh(delay_spread_s=1e-7, num_subbands=4)], ids=str)
@pytest.mark.parametrize("reciprocal", [True, False])
def test_a_matrix_of_gains_is_the_gains_of_its_pairs(fading, reciprocal: bool, monkeypatch) -> None:
    monkeypatch.setattr(channels.channel, "_CHUNK", 50)  # 16 rows at a time, then the rest
    channel = make(fading=fading, reciprocal=reciprocal)
    matrix = channel.power_gain_matrix(DEVICES, STATIONS, 12)
    pairs = channel.power_gain(np.repeat(DEVICES, 3), np.tile(STATIONS, NUM_DEVICES), [12])
    assert matrix.shape == (NUM_DEVICES, 3, pairs.shape[-1])
    np.testing.assert_allclose(matrix.reshape(pairs[0].shape), pairs[0], rtol=1e-9)


def test_a_matrix_of_moving_nodes_is_of_its_block() -> None:
    moving = SITES.moving(lambda t_s: XY_M + 30.0 * t_s[:, None, None], 0.5)
    channel = make(moving)
    matrix = channel.power_gain_matrix(DEVICES[:3], STATIONS, 31)  # starts at 1.55 s
    pairs = channel.power_gain(np.repeat(DEVICES[:3], 3), np.tile(STATIONS, 3), [31])
    np.testing.assert_allclose(matrix.ravel(), pairs.ravel(), rtol=1e-9)
    assert not np.allclose(matrix, channel.power_gain_matrix(DEVICES[:3], STATIONS, 0), rtol=0.01, atol=0)


def test_nothing_to_ask_is_an_empty_answer() -> None:
    empty = np.array([], dtype=np.int64)
    assert make().power_gain(empty, empty, [0, 1]).shape == (2, 0, 1)
    assert make().power_gain([0, 1], [2, 3], empty).shape == (0, 2, 1)
    assert make(Sites.static(np.empty((0, 2)), 1.5)).power_gain(empty, empty, [0]).shape == (1, 0, 1)


# --- what a gain is made of -----------------------------------------------------------------------------


def test_the_mean_gain_is_shadowing_less_path_loss() -> None:
    """Over the 3D distance in free space; where line of sight is, the law says; antennas play no part."""
    src, dst = UP
    plain = make(path_loss=FreeSpace(), shadowing=NoShadowing()).large_scale(src, dst, 0.0)
    horizontal_m = np.hypot(*(XY_M[src] - XY_M[dst]).T)
    np.testing.assert_allclose(plain.distance_2d_m[0], horizontal_m, rtol=1e-14)
    wavelengths = np.hypot(horizontal_m, 8.5) * 3.5e9 / 299_792_458.0
    np.testing.assert_allclose(plain.mean_gain_db[0], -20 * np.log10(4 * np.pi * wavelengths), rtol=1e-12)
    assert plain.is_los.all()

    shadowed = make(path_loss=FreeSpace(), shadowing=LogNormal(std_db=6.0)).large_scale(src, dst, 0.0)
    double = make(path_loss=FreeSpace(), shadowing=LogNormal(std_db=12.0)).large_scale(src, dst, 0.0)
    shadowing_db = shadowed.mean_gain_db - plain.mean_gain_db
    assert np.ptp(shadowing_db) > 12
    np.testing.assert_allclose(double.mean_gain_db - plain.mean_gain_db, 2 * shadowing_db, atol=1e-10)


def test_path_loss_knows_line_of_sight() -> None:
    src, dst = UP
    channel = make(shadowing=NoShadowing())
    large = channel.large_scale(src, dst, 0.0)
    assert 10 < large.is_los.sum() < 110
    for los in (True, False):
        here = large.is_los[0] == los
        geometry = channel.geometry(src[here], dst[here], 0.0)
        loss_db = UrbanMicro().path_loss_db(geometry, carrier_hz=3.5e9, los=np.full(here.sum(), los))
        np.testing.assert_allclose(large.mean_gain_db[0, here], -loss_db, rtol=1e-12)


@pytest.mark.parametrize(("los", "expected"), [("always", True), ("never", False)])
def test_line_of_sight_can_be_certain(los: str, expected: bool) -> None:
    assert np.all(make(path_loss=UrbanMicro(los=los)).large_scale(*UP, 0.0).is_los == expected)


class Told(Rayleigh):
    """A law of fading that shows what it is told: 2 with line of sight, else the bandwidth in units of the carrier."""

    def power_gain(self, uniform, link_ids, blocks, *, los, carrier_hz, bandwidth_hz):
        return np.where(los, 2.0, bandwidth_hz / carrier_hz)[..., None] * np.ones((len(blocks), len(link_ids), 3))


def test_fading_multiplies_the_mean_gain_and_is_told_who_has_line_of_sight() -> None:
    moving = SITES.moving(lambda t_s: XY_M + 40.0 * t_s[:, None, None] * (HEIGHTS_M[:, None] < 5), 1.0)
    channel = make(moving, fading=Told(coherence_time_s=1.0), bandwidth_hz=1.75e9)
    gain, large = channel.power_gain(*UP, [0, 3]), channel.large_scale(*UP, [0.0, 3.0])
    assert np.any(large.is_los[0] != large.is_los[1])
    expected = db_to_linear(large.mean_gain_db) * np.where(large.is_los, 2.0, 0.5)
    np.testing.assert_allclose(gain, np.repeat(expected[..., None], 3, axis=-1), rtol=1e-12)


def test_without_fading_the_gain_is_the_mean_gain_in_every_block() -> None:
    channel = make(fading=NoFading())
    gain = channel.power_gain(*UP, [0, 1, 2])
    np.testing.assert_allclose(gain[..., 0], np.tile(db_to_linear(channel.large_scale(*UP, 0.0).mean_gain_db), (3, 1)))


def test_blocks_are_as_long_as_fading_or_motion_says() -> None:
    moving = SITES.moving(lambda t_s: np.broadcast_to(XY_M, (len(t_s), *XY_M.shape)), 0.2)
    assert make(fading=NoFading()).block_s == math.inf
    assert make(moving, fading=NoFading()).block_s == 0.2
    for sites in (SITES, moving):
        assert make(sites, fading=Rayleigh(coherence_time_s=0.03)).block_s == 0.03


# --- both directions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("laws", [{}, {"path_loss": LogDistance(decorrelation_m=0.0, shadow_std_db=8.0)}])
def test_large_scale_gains_are_reciprocal_always_and_fading_where_the_band_is_one(laws) -> None:
    src, dst = UP
    for reciprocal in (True, False):
        channel = make(reciprocal=reciprocal, **laws)
        there, back = channel.large_scale(src, dst, 0.0), channel.large_scale(dst, src, 0.0)
        np.testing.assert_array_equal(there.mean_gain_db, back.mean_gain_db)
        np.testing.assert_array_equal(there.is_los, back.is_los)
        up, down = channel.power_gain(src, dst, [0, 9]), channel.power_gain(dst, src, [0, 9])
        assert np.all((up == down) == reciprocal)


# --- over space -----------------------------------------------------------------------------------------


def test_devices_near_each_other_have_alike_shadowing_and_line_of_sight() -> None:
    """Half a metre is little against correlation distances of 10 m and more; it is not none."""
    beside = Sites.static(np.concatenate([XY_M, XY_M[DEVICES] + [0.3, 0.4]]), np.r_[HEIGHTS_M, np.full(40, 1.5)])
    large = make(beside).large_scale(np.r_[DEVICES, DEVICES + 43], np.full(80, STATIONS[0]), 0.0)
    (one, other), (los, other_los) = large.mean_gain_db.reshape(2, 40), large.is_los.reshape(2, 40)
    same = los == other_los
    assert same.mean() > 0.9
    assert np.abs(one - other)[same].max() < 6.0
    assert np.all(one != other)
    # drawn for each pair of nodes they have nothing in common
    laws = {"path_loss": LogDistance(shadow_std_db=8.0, decorrelation_m=0.0)}
    one, other = (
        make(beside, **laws)
        .large_scale(np.r_[DEVICES, DEVICES + 43], np.full(80, 40), 0.0)
        .mean_gain_db[0]
        .reshape(2, 40)
    )
    assert np.std(one - other) > 6.0


def test_the_shadowing_laws_own_decorrelation_counts() -> None:
    """0.5 m apart: alike over 50 m, not over 1 cm."""
    beside = Sites.static(np.concatenate([XY_M, XY_M[DEVICES] + [0.3, 0.4]]), np.r_[HEIGHTS_M, np.full(40, 1.5)])

    def spread_db(**settings: float) -> float:
        channel = make(beside, path_loss=LogDistance(), shadowing=LogNormal(std_db=8.0, **settings))
        large = channel.large_scale(np.r_[DEVICES, DEVICES + 43], np.full(80, 40), 0.0)
        return float(np.std(np.diff(large.mean_gain_db.reshape(2, 40), axis=0)))

    assert spread_db() == spread_db(decorrelation_m=50.0) < 2.0
    assert spread_db(decorrelation_m=0.01) > 6.0
    assert spread_db(decorrelation_m=0.0) > 6.0


class LongInSight(UrbanMicro):
    """Shadowing decorrelates over a kilometre with line of sight, and over a centimetre without."""

    def shadow_decorrelation_m(self, los: bool) -> float:
        return 1000.0 if los else 0.01


@pytest.mark.parametrize(("los", "alike"), [("always", True), ("never", False)])
def test_each_state_has_its_own_decorrelation(los: str, alike: bool) -> None:
    away = np.array([3.0, 4.0])
    beside = Sites.static(np.concatenate([XY_M, XY_M[DEVICES] + away]), np.r_[HEIGHTS_M, np.full(40, 1.5)])
    laws = {"path_loss": LongInSight(los=los), "shadowing": LogNormal(std_db=8.0)}
    shadowed, plain = make(beside, **laws), make(beside, **{**laws, "shadowing": NoShadowing()})
    ends = np.r_[DEVICES, DEVICES + 43], np.full(80, 40)
    shadowing_db = shadowed.large_scale(*ends, 0.0).mean_gain_db - plain.large_scale(*ends, 0.0).mean_gain_db
    assert (np.std(np.diff(shadowing_db.reshape(2, 40), axis=0)) < 2.0) == alike


# --- over time ------------------------------------------------------------------------------------------


def test_nodes_that_stay_have_one_state_at_any_time() -> None:
    large = make().large_scale(*UP, [0.0, 0.07, 1e6])
    for values in vars(large).values():
        assert values.shape == (3, 120)
        np.testing.assert_array_equal(values[1:], values[:1].repeat(2, axis=0))


def test_nodes_that_move_are_where_the_last_look_saw_them() -> None:
    """They walk 10 m/s east; positions are looked at every 0.2 s, gains change every 0.05 s."""
    start_m = np.array([[0.0, 0.0], [0.0, 50.0]])

    def positions_m(t_s: np.ndarray) -> np.ndarray:
        return start_m + 10.0 * t_s[:, None, None] * np.array([[1.0, 0.0], [0.0, 0.0]])

    sites = Sites.static(start_m, [1.5, 1.5]).moving(positions_m, 0.2)
    channel = make(sites, path_loss=FreeSpace(), shadowing=NoShadowing(), fading=Told(coherence_time_s=0.05))
    times_s = np.array([0.0, 0.19, 0.2, 0.6, 0.7, 0.79, 1.0])
    seen_m = np.array([0.0, 0.0, 2.0, 6.0, 6.0, 6.0, 10.0])
    large = channel.large_scale([0], [1], times_s)
    np.testing.assert_allclose(large.distance_2d_m[:, 0], np.hypot(50.0, seen_m))
    blocks = np.array([0, 3, 4, 12, 14, 15, 20])
    np.testing.assert_allclose(
        channel.power_gain([0], [1], blocks)[:, 0, 0], 2 * db_to_linear(large.mean_gain_db[:, 0])
    )
    np.testing.assert_allclose(channel.geometry([0], [1], 0.79).distance_2d_m, np.hypot(50.0, 6.0))
    np.testing.assert_allclose(sites.at([0.79])[0, 0], [6.0, 0.0])


def test_a_node_that_passes_by_has_what_one_that_stands_there_has() -> None:
    """Shadowing and line of sight belong to places: a device that comes back finds them as they were."""
    moving = SITES.moving(lambda t_s: XY_M + np.array([100.0, 0.0]) * (t_s[:, None, None] == 1.0), 1.0)
    channel = make(moving)
    large = channel.large_scale(*UP, [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(large.mean_gain_db[0], large.mean_gain_db[2])
    there = make(Sites.static(XY_M + np.array([100.0, 0.0]), HEIGHTS_M)).large_scale(*UP, 0.0)
    np.testing.assert_array_equal(large.mean_gain_db[1], there.mean_gain_db[0])
    assert np.all(large.mean_gain_db[1] != large.mean_gain_db[0])


# --- sites and geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heights_m": [1.5, 10.0, 3.0]}, "broadcast"),
        ({"ids": [1]}, "one element for each of 2 names"),
        ({"ids": [1, 1]}, "different integers"),
        ({"ids": [0, 1 << 24]}, r"0 to 2\^24 - 1"),
        ({"ids": [-1, 0]}, r"0 to 2\^24 - 1"),
    ],
)
def test_sites_are_consistent(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sites.static(**{"xy_m": [(0, 0), (1, 1)], "heights_m": 1.5, **change})


def test_sites_count_from_zero() -> None:
    sites = Sites.static([(0, 0), (3, 4)], 1.5)
    assert (len(sites), sites.names, sites.ids.tolist(), sites.is_static) == (2, ("0", "1"), [0, 1], True)
    np.testing.assert_array_equal(sites.at([0.0, 9.0]), [[(0, 0), (3, 4)]] * 2)


def test_geometry_puts_the_higher_end_first() -> None:
    geometry = LinkGeometry.between([3.0, 4.0], [1.5, 10.0], [5.5, 7.0])
    np.testing.assert_array_equal(geometry.height_a_m, [5.5, 10.0])
    np.testing.assert_array_equal(geometry.height_b_m, [1.5, 7.0])
    np.testing.assert_allclose(geometry.distance_3d_m, [5.0, 5.0])
    with pytest.raises(ValueError, match="higher antenna"):
        LinkGeometry(np.array([1.0]), np.array([1.5]), np.array([10.0]))
    with pytest.raises(ValueError, match="one length"):
        LinkGeometry(np.array([1.0, 2.0]), np.array([10.0]), np.array([1.5]))
