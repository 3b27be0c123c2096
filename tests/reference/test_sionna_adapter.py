"""Gains that Sionna draws: they are Sionna's, and distributed as those of our own TR 38.901."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student_t

from channels import path_loss
from channels.sites import Sites
from nmoe_sim.engine.radio import channel
from nmoe_sim.engine.radio.channel import Sionna
from nmoe_sim.engine.radio.sionna_gains import BLOCKS_A_DRAW, SionnaGains
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams

pytest.importorskip("sionna.phy")

CARRIER_HZ, BANDWIDTH_HZ = 3.5e9, 20e6
RADIO = SimpleNamespace(carrier_hz=CARRIER_HZ, bandwidth_hz=BANDWIDTH_HZ)
STATION_HEIGHT_M = {"umi": 10.0, "uma": 25.0, "rma": 35.0}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on several threads mostly wait for each other."""
    from nmoe_sim.nmoe import threads

    with threads.one_thread():
        yield


def sites(num_devices: int, height_m: float, num_stations: int = 1) -> Sites:
    """Devices first, 20 m to 1 km from the origin, where the first base station is."""
    rng = np.random.default_rng(0)
    distance_m, angle = rng.uniform(20, 1000, num_devices), rng.uniform(0, 2 * np.pi, num_devices)
    devices_m = distance_m[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    stations_m = np.column_stack([200.0 * np.arange(num_stations), np.zeros(num_stations)])
    is_station = np.arange(num_devices + num_stations) >= num_devices
    names = tuple(f"bs{i - num_devices}" if station else f"dev{i}" for i, station in enumerate(is_station))
    heights_m = np.where(is_station, height_m, 1.5)
    return Sites.static(np.concatenate([devices_m, stations_m]), heights_m, names=names, is_station=is_station)


def drawn(where: Sites, seed: int = 0, **settings: Any) -> SionnaGains:
    gains = Sionna(**settings).build(where, RADIO, RandomStreams(seed).uniform)  # type: ignore[arg-type]
    assert isinstance(gains, SionnaGains)
    return gains


@pytest.mark.parametrize("environment", ["umi", "uma", "rma"])
def test_large_scale_gains_are_distributed_as_our_own(environment: str) -> None:
    """Line of sight, mean and variance, each position against its own expectation; seeds fixed beforehand.

    Shadowing is correlated between devices but not between seeds, so an interval is over the means of seeds.
    """
    num_devices, num_seeds = 200, 80
    where = sites(num_devices, STATION_HEIGHT_M[environment])
    distance_m = np.hypot(*where.positions_m(np.zeros(1))[0, :num_devices].T)
    geometry = {
        "distance_2d_m": distance_m,
        "carrier_hz": CARRIER_HZ,
        "height_bs_m": STATION_HEIGHT_M[environment],
        "height_ut_m": 1.5,
    }
    share = path_loss.los_probability(environment, distance_2d_m=distance_m)
    loss_db = np.array([path_loss.tr38901(environment, los=los, **geometry) for los in (False, True)])
    std_db = np.array([path_loss.shadow_fading_std_db(environment, los=los, **geometry) for los in (False, True)])
    weight = np.array([1 - share, share])
    mean_db = -(weight * loss_db).sum(axis=0)
    variance_db2 = (weight * (std_db**2 + (loss_db + mean_db) ** 2)).sum(axis=0)

    samples = np.empty((num_seeds, 3))
    for seed in range(num_seeds):
        gains = drawn(where, seed, environment=environment, fading="none")
        error_db = gains.mean_gain_db[0] - mean_db
        samples[seed] = gains.is_los.mean(), error_db.mean(), (error_db**2).mean()
    half_width = student_t.ppf(0.9995, num_seeds - 1) * samples.std(axis=0, ddof=1) / np.sqrt(num_seeds)
    assert np.all(half_width < [0.02, 0.5, 0.1 * variance_db2.mean()])
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - [share.mean(), 0.0, variance_db2.mean()]), half_width)


@pytest.mark.parametrize("environment", ["umi", "uma", "rma"])
@pytest.mark.parametrize("los", ["always", "never"])
def test_path_loss_is_our_own(environment: str, los: str) -> None:
    where = sites(200, STATION_HEIGHT_M[environment], num_stations=2)
    xy_m = where.positions_m(np.zeros(1))[0]
    gains = drawn(where, environment=environment, los=los, shadowing=False, fading="none")
    expected_db = path_loss.tr38901(
        environment,
        distance_2d_m=np.hypot(*np.moveaxis(xy_m[200:, None] - xy_m[None, :200], -1, 0)),
        carrier_hz=CARRIER_HZ,
        height_bs_m=STATION_HEIGHT_M[environment],
        height_ut_m=1.5,
        los=los == "always",
    )
    np.testing.assert_allclose(-gains.mean_gain_db, expected_db, atol=0.02)
    assert np.all(gains.is_los == (los == "always"))


@pytest.mark.parametrize("environment", ["umi", "uma", "rma"])
def test_gains_are_those_of_sionnas_own_channel(environment: str) -> None:
    """Sionna's class, seeded at the same places, gives the same paths."""
    from sionna.phy import config
    from sionna.phy.channel import tr38901

    where, uniform = sites(12, STATION_HEIGHT_M[environment], num_stations=2), RandomStreams(5).uniform
    exact = {"precision": "double", "device": "cpu"}
    one = {"num_rows_per_panel": 1, "num_cols_per_panel": 1, "polarization": "single", "polarization_type": "V"}
    array = tr38901.PanelArray(antenna_pattern="omni", carrier_frequency=CARRIER_HZ, **one, **exact)
    indoor = {} if environment == "rma" else {"o2i_model": "low"}
    make = {"umi": tr38901.UMi, "uma": tr38901.UMa, "rma": tr38901.RMa}[environment]
    settings = {"direction": "downlink", "spec_version": "16.1"} | indoor | exact
    model = make(CARRIER_HZ, ut_array=array, bs_array=array, **settings)
    xyz_m = np.column_stack([where.positions_m(np.zeros(1))[0], where.heights_m])[None]
    outdoors = {"in_state": np.zeros((1, 12), bool)} | ({"in_car": np.zeros((1, 12), bool)} if not indoor else {})
    seed = [int(float(uniform(name, 0)) * 2.0**52) for name in ("sionna/layout", "sionna/rays")]
    config.torch_rng("cpu").manual_seed(seed[0])
    model.set_topology(
        xyz_m[:, :12], xyz_m[:, 12:], np.zeros((1, 12, 3)), np.zeros((1, 2, 3)), np.zeros((1, 12, 3)), **outdoors
    )
    config.torch_rng("cpu").manual_seed(seed[1])
    a, delay_s = (np.asarray(x)[0] for x in model(1, 1.0))
    a_bdp, delay_bdp = a[:, 0, :, 0, :, 0].swapaxes(0, 1), delay_s.swapaxes(0, 1)
    src, dst = np.tile(np.arange(12), 2), np.repeat([12, 13], 12)

    wideband = drawn(where, 5, environment=environment, fading="wideband").power_gain(src, dst, [0])
    np.testing.assert_allclose(wideband.reshape(2, 12), (np.abs(a_bdp) ** 2).sum(axis=2), rtol=1e-6)
    subbands = drawn(where, 5, environment=environment, num_subbands=2).power_gain(src, dst, [0])
    for k, offset_hz in enumerate((-BANDWIDTH_HZ / 4, BANDWIDTH_HZ / 4)):
        expected = np.abs((a_bdp * np.exp(-2j * np.pi * delay_bdp * offset_hz)).sum(axis=2)) ** 2
        np.testing.assert_allclose(subbands[0, :, k].reshape(2, 12), expected, rtol=1e-6)


def test_fading_has_mean_1_and_correlates_as_doppler_says() -> None:
    """Without line of sight a short time apart is alike, far apart isn't; draws are independent of each other."""
    where = sites(60, 10.0)
    settings = {"los": "never", "device_speed_m_per_s": 3.0, "coherence_time_s": 1e-3}
    gains = drawn(where, 2, **settings)
    src, dst = np.arange(60), np.full(60, 60)
    blocks = np.arange(30)[:, None] * BLOCKS_A_DRAW + [0, 1, BLOCKS_A_DRAW - 1]
    mean_gain = 10 ** (gains.large_scale(src, dst, [0.0]).mean_gain_db / 10)
    fading = (gains.power_gain(src, dst, blocks.ravel())[..., 0] / mean_gain).reshape(30, 3, 60)
    mean_of_draw = fading[:, 0].mean(axis=1)
    half_width = student_t.ppf(0.9995, 29) * mean_of_draw.std(ddof=1) / np.sqrt(30)
    assert abs(mean_of_draw.mean() - 1.0) < half_width < 0.1

    def correlation(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    assert correlation(fading[:, 0], fading[:, 1]) > 0.9  # 2π f_d τ = 0.22, J0² = 0.98
    assert abs(correlation(fading[:, 0], fading[:, 2])) < 0.2  # 31 ms
    assert abs(correlation(fading[:-1, 2], fading[1:, 0])) < 0.1  # 1 ms, but other rays


def test_blocks_in_any_order_and_both_directions() -> None:
    where = sites(8, 10.0, num_stations=2)
    settings = {"device_speed_m_per_s": 1.5, "num_subbands": 3, "missing": "no_path"}
    src, dst = np.array([0, 8, 3, 0, 8, 4]), np.array([8, 0, 9, 1, 9, 4])
    gain = drawn(where, 1, **settings).power_gain(src, dst, np.arange(100))
    assert gain.shape == (100, 6, 3)
    assert np.all(gain[:, :3] > 0)
    assert np.all(gain[:, 3:] == 0)
    np.testing.assert_array_equal(gain[:, 0], gain[:, 1])
    again = drawn(where, 1, **settings)
    order = np.random.default_rng(0).permutation(100)
    parts = [again.power_gain(src[2:], dst[2:], part) for part in np.array_split(order, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), gain[order][:, 2:])
    assert np.all(drawn(where, 2, **settings).power_gain(src, dst, [0])[:, :3] != gain[:1, :3])
    still = drawn(where, 1, device_speed_m_per_s=0.0)
    assert still.block_s == np.inf
    np.testing.assert_array_equal(still.power_gain([0], [8], [0, 7])[0], still.power_gain([0], [8], [0, 7])[1])


def test_no_global_state_is_left_behind() -> None:
    import torch
    from sionna.phy import config

    def state() -> list[Any]:
        return [
            config.seed,
            config.precision,
            config.device,
            config.torch_rng("cpu").get_state(),
            torch.get_rng_state(),
        ]

    before = state()
    drawn(sites(3, 10.0), device_speed_m_per_s=1.0).power_gain([0], [3], [0, 100])
    for was, now in zip(before, state(), strict=True):
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now


def test_what_sionna_is_not_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    where = sites(3, 10.0, num_stations=2)
    nothing = np.empty(0, np.int64)
    Sionna().check(where, np.array([0, 3]), np.array([3, 0]))
    with pytest.raises(InputError, match=r"^radio\.channel\.kind: .* not from dev0 to dev1; take a topology without"):
        Sionna().check(where, np.array([0, 0]), np.array([3, 1]))
    Sionna(missing="no_path").check(where, np.array([0, 0]), np.array([3, 1]))
    gains = drawn(where)
    assert np.isnan(gains.power_gain([0, 3], [1, 4], [0])).all()
    assert np.isnan(gains.large_scale([0], [1], [0.0]).mean_gain_db).all()
    assert "not from bs0 to bs1" in gains.why_nan(3, 4, 0.0)
    with pytest.raises(InputError, match="nodes that don't move"):
        Sionna().check(where.moving(where.positions_m, 0.1), nothing, nothing)
    with pytest.raises(InputError, match="take a topology with both"):
        drawn(Sites.static([(0, 0), (9, 9)], 1.5))
    with pytest.raises(InputError, match="a device stands at a base station's antenna"):
        drawn(Sites.static([(0, 0), (0, 0)], 1.5, is_station=[False, True]))
    monkeypatch.setattr(channel, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"sionna is not installed; pip install 'nmoe-sim\[sionna\]'"):
        Sionna().check(where, nothing, nothing)
