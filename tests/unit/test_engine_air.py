"""SINRs and rates worked out by hand: 1 W devices and 10 W base stations over a noise of N, gains in units of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from fake_radio import Given, Proportional, network, radio, simulation, table

from channels.units import db_to_linear, thermal_noise_w
from nmoe_sim.engine.air import Air
from nmoe_sim.engine.air_state import AirState
from nmoe_sim.engine.links import Wired
from nmoe_sim.engine.radio.antennas import Isotropic
from nmoe_sim.engine.radio.link_adaptation import Nr, Shannon
from nmoe_sim.engine.sharing import MaxMin
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology

NOISE_W = float(thermal_noise_w(1e6, 0.0))
"""Of 1 MHz without a noise figure."""


def gains(of: Mapping[str, Any], block_s: float = math.inf) -> Given:
    """Gains in units of N/W, so that they are SNRs of devices."""
    return Given(table({pair: np.multiply(gain, NOISE_W) for pair, gain in of.items()}, 1e-3 * NOISE_W), block_s)


def over_time(of: Mapping[str, Callable[[int], float]], block_s: float) -> Given:
    return Given(lambda a, b, t: NOISE_W * of.get(f"{a}>{b}", lambda _: 0.0)(t), block_s)


def place(run: Simulation, *pairs: str) -> tuple[Air, np.ndarray]:
    """Return the air and the positions of links that are planned together."""
    [group] = [g for g in run.groups if any(f"{k.src.name}>{k.dst.name}" == pairs[0] for k in g.links)]
    names = [f"{k.src.name}>{k.dst.name}" for k in group.links]
    return group.air, np.array([names.index(pair) for pair in pairs])


def sinrs(run: Simulation, active: Mapping[str, float], block: int = 0) -> list[float]:
    """SINR of links while each is active for a part of the time."""
    air, links = place(run, *active)
    return air.state(links, np.array(list(active.values())), block).sinr.tolist()


# --- alone ----------------------------------------------------------------------------------------------


def test_alone_it_is_power_times_gain_over_noise() -> None:
    changes = {"noise_figure_db": 10.0, "base_station_noise_figure_db": 3.0, "bandwidth_hz": 4e6}
    run = simulation(network(["a-bs0"]), radio(channel=gains({"a>bs0": 80.0, "bs0>a": 60.0}), **changes))
    for pair, sinr in (("a>bs0", 80.0 / 4 / 10**0.3), ("bs0>a", 10 * 60.0 / 4 / 10)):
        air, [link] = place(run, pair)
        assert air.sinr(link, 0) == pytest.approx(sinr)
        assert air.rate_bps(link, 0) == pytest.approx(4e6 * sinr)
        assert sinrs(run, {pair: 1.0}) == pytest.approx([sinr])
        np.testing.assert_allclose(air.mean_rates_bps(0.0), [4e6 * sinr])


def test_alone_both_ways_of_asking_agree_in_every_block() -> None:
    """One by one from a window of blocks, or together; sub-bands count by the law's effective SINR, here the least."""
    channel = Given(lambda a, b, t: NOISE_W * np.array([t % 7 + 1.0, t % 5 + 2.0]), 0.01, num_subbands=2)
    run = simulation(network(["a-bs0", "b-bs0"]), radio(channel=channel))
    air, [a, b] = place(run, "a>bs0", "b>bs0")
    for block in (3, 2, 0, 255, 256, 700, 10**6, 1):
        expected = min(block % 7 + 1.0, block % 5 + 2.0)
        assert air.sinr(a, block) == pytest.approx(expected)
        assert air.rate_bps(b, block) == pytest.approx(1e6 * expected)
        np.testing.assert_allclose(air.state(np.array([a, b]), np.full(2, 0.5), block).sinr, expected)
    assert air.block_s == 0.01


def test_antennas_count_at_both_ends() -> None:
    antennas = {"device_antenna": Isotropic(gain_dbi=10.0), "base_station_antenna": Isotropic(gain_dbi=20.0)}
    run = simulation(network(["a-bs0"]), radio(channel=gains({"a>bs0": 2.0}), **antennas))
    air, [link] = place(run, "a>bs0")
    assert air.sinr(link, 0) == pytest.approx(2000.0)
    assert sinrs(run, {"a>bs0": 1.0}) == pytest.approx([2000.0])
    np.testing.assert_allclose(air.mean_rates_bps(0.0), [2e9])


# --- interference ---------------------------------------------------------------------------------------

CELLS = network(["a-bs0", "a-bs1", "b-bs0", "b-bs1"], places={"bs1": (100.0, 0.0)})
"""Device a belongs to bs0, device b to bs1."""
CROSS = {"a>bs0": 50.0, "b>bs1": 30.0, "a>bs1": 4.0, "b>bs0": 6.0, "bs0>a": 50.0, "bs1>b": 30.0, "bs1>a": 2.0}


def cells(**changes: Any) -> Simulation:
    return simulation(CELLS, radio(channel=gains(CROSS), **changes))


def test_cells_on_one_band_interfere() -> None:
    run = cells()
    assert sinrs(run, {"a>bs0": 1.0, "b>bs1": 1.0}) == pytest.approx([50 / (1 + 6), 30 / (1 + 4)])
    # downlink: 10 W each; b hears next to nothing of bs0
    assert sinrs(run, {"bs0>a": 1.0, "bs1>b": 1.0}) == pytest.approx([500 / (1 + 20), 300 / (1 + 0.01)])


def test_interference_counts_for_the_part_of_the_time_it_is_there() -> None:
    run = cells()
    assert sinrs(run, {"a>bs0": 0.5, "b>bs1": 0.25}) == pytest.approx([50 / (1 + 0.25 * 6), 30 / (1 + 0.5 * 4)])
    assert sinrs(run, {"a>bs0": 1.0, "b>bs1": 0.0}) == pytest.approx([50.0, 30 / 5])
    assert sinrs(run, {"a>bs0": 1.0}) == pytest.approx([50.0])


def test_links_of_one_medium_take_turns_and_do_not_interfere() -> None:
    run = cells()
    assert sinrs(run, {"a>bs0": 0.5, "b>bs0": 0.5}) == pytest.approx([50.0, 6.0])
    # of two in the other cell both count, half of the time each
    assert sinrs(run, {"a>bs0": 1.0, "b>bs1": 0.5, "a>bs1": 0.5})[0] == pytest.approx(50 / (1 + 0.5 * 6))


def test_uplink_and_downlink_do_not_interfere() -> None:
    run = cells()
    (up, _), (down, _) = place(run, "a>bs0"), place(run, "bs0>a")
    assert up is not down
    half = cells(duplex="half")
    # bs1 sends to b while a sends to bs0: one base station hears the other
    crossed = {**CROSS, "bs1>bs0": 0.7}
    half = simulation(CELLS, radio(channel=gains(crossed), duplex="half"))
    assert sinrs(half, {"a>bs0": 1.0, "bs1>b": 1.0}) == pytest.approx([50 / (1 + 10 * 0.7), 300 / (1 + 1e-3)])


def test_parts_of_the_band_do_not_interfere_and_have_their_share_of_the_noise() -> None:
    run = cells(reuse_factor=2)
    for pair, sinr in (("a>bs0", 100.0), ("b>bs1", 60.0)):
        air, [link] = place(run, pair)
        assert air.sinr(link, 0) == pytest.approx(sinr)
        assert air.rate_bps(link, 0) == pytest.approx(0.5e6 * sinr)
    assert place(run, "a>bs0")[0] is not place(run, "b>bs1")[0]


def test_sub_bands_interfere_one_by_one() -> None:
    """The law takes the worse of two; in the second sub-band there is no interference."""
    crossed = {"a>bs0": [50.0, 5.0], "b>bs1": [30.0, 90.0], "b>bs0": [24.0, 0.0], "a>bs1": [2.0, 2.0]}
    channel = Given(table({k: np.array(v) * NOISE_W for k, v in crossed.items()}), num_subbands=2)
    run = simulation(CELLS, radio(channel=channel))
    assert sinrs(run, {"a>bs0": 1.0, "b>bs1": 1.0}) == pytest.approx([50 / 25, 30 / 3])
    assert sinrs(run, {"a>bs0": 1.0}) == pytest.approx([5.0])


class Narrow:
    """A beam every degree: 10 dB within 5 degrees of it, 0 dB elsewhere."""

    kind = "narrow"
    gain_dbi = 0.0

    def beam_towards(self, azimuth_rad, elevation_rad):
        return np.rint(np.rad2deg(azimuth_rad)).astype(np.int64)

    def gain_db(self, beam, azimuth_rad, elevation_rad):
        off = np.abs((np.rad2deg(azimuth_rad) - beam + 180) % 360 - 180)
        return np.where(off < 5, 10.0, 0.0)


@pytest.mark.parametrize(("b_x_m", "heard"), [(900.0, 1.0), (1100.0, 10.0)], ids=["away", "through its peer"])
def test_interference_is_heard_by_the_beams_that_point_elsewhere(b_x_m: float, heard: float) -> None:
    """bs0 looks north at a; b looks at bs1, east of it or west: then bs0 is in its beam too."""
    places = {"bs1": (1000.0, 0.0), "a": (0.0, 100.0), "b": (b_x_m, 0.0)}
    topology = network(["a-bs0", "a-bs1", "b-bs0", "b-bs1"], places=places)
    antennas = {"device_antenna": Narrow(), "base_station_antenna": Narrow()}
    run = simulation(topology, radio(channel=gains({"a>bs0": 50.0, "b>bs1": 30.0, "b>bs0": 6.0}), **antennas))
    [sinr, _] = sinrs(run, {"a>bs0": 1.0, "b>bs1": 1.0})
    assert sinr == pytest.approx(50 * 100 / (1 + 6 * heard), rel=1e-6)


# --- concurrent sidelinks -------------------------------------------------------------------------------

CHAIN = network(["a-b", "b-c", "c-d", "a-c", "b-d"])
NEAR = {"a>b": 40.0, "b>c": 30.0, "c>d": 20.0, "a>c": 5.0, "a>d": 3.0, "b>d": 2.0, "c>b": 30.0}


def chain() -> Simulation:
    return simulation(CHAIN, radio(channel=gains(NEAR), sidelinks="concurrent"))


def test_a_receiver_hears_others_and_neither_its_own_radio_nor_its_sender() -> None:
    run = chain()
    assert sinrs(run, {"a>b": 1.0, "c>d": 1.0}) == pytest.approx([40 / (1 + 30), 20 / (1 + 3)])
    # b sends itself, which its duty is for; a is heard at c
    assert sinrs(run, {"a>b": 0.5, "b>c": 0.5}) == pytest.approx([40.0, 30 / (1 + 0.5 * 5)])
    # what a sends to somebody else is of its own medium
    assert sinrs(run, {"a>b": 0.5, "a>c": 0.5}) == pytest.approx([40.0, 5.0])


@pytest.mark.parametrize(
    ("active", "duty"),
    [
        (["a>b"], [1.0]),
        (["a>b", "c>d"], [1.0, 1.0]),
        (["a>b", "a>c"], [1.0, 1.0]),
        (["a>b", "b>c"], [0.5, 0.5]),
        (["a>b", "c>b", "b>d"], [1 / 3, 1 / 3, 1 / 3]),  # b sends, and listens to two
        (["a>b", "b>c", "c>d"], [0.5, 0.5, 0.5]),
        (["a>b", "b>a"], [0.5, 0.5]),
        (["a>b", "c>b"], [0.5, 0.5]),  # b listens to one at a time
    ],
)
def test_radios_divide_their_time_among_media(active: list[str], duty: list[float]) -> None:
    air, links = place(chain(), *active)
    assert air.duty(links).tolist() == pytest.approx(duty)


def test_media_with_turns_of_their_own_need_no_duty() -> None:
    run = simulation(CHAIN, radio(channel=gains(NEAR)))
    air, links = place(run, "a>b", "b>c")
    assert not air.is_coupled
    assert air.duty(links).tolist() == [1.0, 1.0]
    # nor do the directions of a base station, which have a band each or one medium
    for duplex in ("full", "half"):
        run = simulation(CELLS, radio(channel=gains(CROSS), duplex=duplex))
        pairs = ("a>bs0", "bs0>a") if duplex == "half" else ("a>bs0", "b>bs1")
        air, links = place(run, *pairs)
        assert air.is_coupled
        assert air.duty(links).tolist() == [1.0, 1.0]


# --- reports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay_s", "block", "parts"),
    [
        (0.0, 9, {9: 1.0}),
        (0.02, 9, {7: 1.0}),
        (0.025, 9, {7: 0.5, 6: 0.5}),
        (0.0025, 9, {9: 0.75, 8: 0.25}),
        (0.025, 2, {0: 1.0}),  # before the first block there was none
        (10.0, 9, {0: 1.0}),
    ],
)
def test_a_scheme_is_chosen_from_the_gain_of_a_while_ago(delay_s: float, block: int, parts: dict[int, float]) -> None:
    """Within a block, until its own report has come, the one before counts; interference is always that of now."""
    growing = {"a>bs0": lambda t: 10.0 + t, "b>bs1": lambda t: 5.0, "b>bs0": lambda t: 1.0 + t, "a>bs1": lambda t: 0.0}
    law = Proportional(report_delay_s=delay_s)
    run = simulation(CELLS, radio(channel=over_time(growing, 0.01), link_adaptation=law))
    air, links = place(run, "a>bs0", "b>bs1")
    state = air.state(links, np.array([1.0, 0.5]), block)
    heard = 1.0 + 0.5 * (1.0 + block)
    assert state.sinr[0] == pytest.approx((10.0 + block) / heard)
    reported = sum(weight * (10.0 + old) for old, weight in parts.items()) / heard
    sends = state.transmission(np.ones(2))
    assert sends.rate_bps == pytest.approx([1e6 * reported, 5e6])


def test_where_gains_never_change_reports_are_never_old() -> None:
    run = simulation(CELLS, radio(channel=gains(CROSS), link_adaptation=Proportional(report_delay_s=0.5)))
    air, links = place(run, "a>bs0")
    assert air.state(links, np.ones(1), 0).transmission(np.ones(1)).rate_bps == pytest.approx([50e6])


def test_loss_is_that_of_the_bits_sent_in_either_part_of_a_block() -> None:
    """Half the block at 10, half at 20, by one law: what is lost of a bit doesn't depend on the part."""
    law = Proportional(report_delay_s=0.005, block_loss=0.25, block_bits=1000.0, mean_transmissions=1.5)
    run = simulation(
        network(["a-bs0"]), radio(channel=over_time({"a>bs0": lambda t: 10.0 * t}, 0.01), link_adaptation=law)
    )
    air, links = place(run, "a>bs0")
    assert not air.is_lossless
    sends = air.state(links, np.ones(1), 2).transmission(np.ones(1))
    assert sends.rate_bps == pytest.approx([15e6])
    assert sends.loss_per_bit == pytest.approx([-math.log(0.75) / 1000])
    assert sends.block_loss == pytest.approx([0.25])
    assert (sends.block_bits.item(), sends.mean_transmissions.item()) == pytest.approx((1000.0, 1.5))


def test_a_report_out_of_range_leaves_the_loss_of_the_others() -> None:
    """90 % of a block by a report of 10 dB, the rest by one of -12 dB, for a link at 2.77 dB."""
    law, hz = Nr(max_transmissions=1), 20e6
    now, good, bad = (np.full((1, 1), db_to_linear(x)) for x in (2.77, 10.0, -12.0))
    state = AirState(now, np.array([0.9, 0.1]), [good, bad], np.full(1, math.nan), np.full(1, hz), law)
    sends = state.transmission(np.ones(1))
    used = law.transmission(now[0], good[0], bandwidth_hz=hz)
    assert used.loss_per_bit > 0
    assert law.transmission(now[0], bad[0], bandwidth_hz=hz).rate_bps == 0
    assert sends.rate_bps == pytest.approx(0.9 * used.rate_bps)
    for of in ("loss_per_bit", "retransmissions_per_bit", "block_bits"):
        assert getattr(sends, of) == pytest.approx(getattr(used, of)), of


def test_reports_of_several_schemes_count_by_what_they_send() -> None:
    law, hz = Nr(max_transmissions=3), 20e6
    now, reports = np.full((1, 1), db_to_linear(8.0)), [np.full((1, 1), db_to_linear(x)) for x in (12.0, 9.5, 4.0)]
    weights = np.array([0.5, 0.2, 0.3])
    state = AirState(now, weights, reports, np.full(1, math.nan), np.full(1, hz), law)
    sends, each = state.transmission(np.ones(1)), [law.transmission(now[0], r[0], bandwidth_hz=hz) for r in reports]
    for of in (
        lambda t: t.rate_bps,
        lambda t: t.rate_bps * t.loss_per_bit,
        lambda t: t.rate_bps * t.retransmissions_per_bit,
        lambda t: t.rate_bps / t.block_bits,
    ):
        assert of(sends) == pytest.approx(sum(w * of(one) for w, one in zip(weights, each, strict=True)))


def test_power_is_concentrated_sub_band_by_sub_band() -> None:
    """The effective SINR of twice the sub-bands isn't twice the effective SINR."""
    law, hz = Shannon(gap_db=0.0, max_bps_per_hz=None), 1e6
    subbands = np.array([[1.0, 7.0], [3.0, 3.0]])
    wires = np.full(2, math.nan)
    state = AirState(subbands, np.ones(1), [subbands], wires, np.full(2, hz), law)
    np.testing.assert_allclose(state.sinr, [3.0, 3.0])
    sends = state.transmission(np.array([[1.0, 1.0], [3.0, 5.0]]))
    np.testing.assert_allclose(sends.rate_bps / hz, [[2.0, 2.0], [(2 + math.log2(22)) / 2, 4.0]])


def test_noise_is_that_of_the_resource_blocks() -> None:
    """51 of them in 20 MHz have 18.36 MHz of noise; interference counts as it is."""
    law, bandwidth_hz = Nr(report_delay_s=0.0), 20e6
    assert law.occupied_hz(bandwidth_hz) == 51 * 12 * 30e3
    noise_w = float(thermal_noise_w(51 * 12 * 30e3, 0.0))
    crossed = {pair: gain * noise_w for pair, gain in CROSS.items()}
    run = simulation(CELLS, radio(channel=Given(table(crossed)), link_adaptation=law, bandwidth_hz=bandwidth_hz))
    assert sinrs(run, {"a>bs0": 1.0}) == pytest.approx([50.0])
    assert sinrs(run, {"a>bs0": 1.0, "b>bs1": 1.0}) == pytest.approx([50 / (1 + 6), 30 / (1 + 4)])
    air, [link] = place(run, "a>bs0")
    sinr = np.array([50.0])
    assert air.rate_bps(link, 0) == law.transmission(sinr, sinr, bandwidth_hz=bandwidth_hz).rate_bps


# --- what policies ask ----------------------------------------------------------------------------------


def test_power_put_into_a_part_of_the_band_multiplies_the_sinr() -> None:
    run = cells()
    air, links = place(run, "a>bs0", "b>bs1")
    state = air.state(links, np.ones(2), 0)
    one, two = (np.array([50 / 7, 30 / 5]) * x for x in (1.0, np.array([2.0, 0.5])))
    np.testing.assert_allclose(state.transmission(np.array([2.0, 0.5])).rate_bps, 1e6 * two)
    several = state.transmission(np.array([[1.0, 1.0], [2.0, 0.5]]))
    np.testing.assert_allclose(several.rate_bps, 1e6 * np.array([one, two]))
    assert several.block_loss.shape == (2, 2)


# --- wires ----------------------------------------------------------------------------------------------

WIRED = network(["a-bs0", "a-bs1"], [("bs0", "bs1", Wired(7e6, 0.02))], places={"bs1": (9.0, 0.0)})


def test_a_wire_carries_its_capacity_always() -> None:
    law = Proportional(block_loss=0.5, block_bits=100.0)
    run = simulation(WIRED, radio(channel=over_time({"a>bs0": lambda t: 3.0}, 0.01), link_adaptation=law))
    air, links = place(run, "bs0>bs1")
    [link] = links
    assert (air.block_s, air.outage_timeout_s, air.is_lossless, air.is_coupled) == (math.inf, math.inf, True, False)
    assert (air.rate_bps(link, 0), air.sinr(link, 0)) == (7e6, math.inf)
    np.testing.assert_array_equal(air.mean_rates_bps(3.0), [7e6])


def test_wires_and_radio_are_planned_together_for_policies_of_whole_routes() -> None:
    law = Proportional(block_loss=0.5, block_bits=100.0)
    changes = {"sharing": MaxMin(), "reuse_factor": 2, "link_adaptation": law}
    run = simulation(WIRED, radio(channel=gains({"a>bs0": 4.0, "a>bs1": 1.0}), **changes))
    assert len(run.groups) == 1
    air, links = place(run, "bs0>bs1", "a>bs0", "bs1>bs0")
    assert air.is_coupled
    state = air.state(links, np.ones(3), 0)
    assert state.sinr.tolist() == pytest.approx([math.inf, 8.0, math.inf])
    sends = state.transmission(np.array([1.0, 1.0, 1.0]))
    assert sends.rate_bps == pytest.approx([7e6, 0.5e6 * 8, 7e6])
    np.testing.assert_allclose(sends.loss_per_bit, [0.0, math.log(2) / 100, 0.0])
    assert sends.block_loss.tolist() == pytest.approx([0.0, 0.5, 0.0])
    assert air.duty(links).tolist() == [1.0, 1.0, 1.0]


def test_topologies_without_radio_need_no_air() -> None:
    run = simulation(Topology(WIRED.nodes, [], [("a", "bs0", Wired(1e6))]), radio())
    assert [group.air.is_lossless for group in run.groups] == [True, True]
