"""The live bundle: who is attached where, what a planner can know, and transfers over a real radio."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_radio import PROFILE, Given, Proportional, network, radio, simulation, table

from channels.units import thermal_noise_w
from nmoe_sim.engine.device_profiles import Phone
from nmoe_sim.engine.handover import A3Handover
from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.mobility import GaussMarkov
from nmoe_sim.engine.radio.channel import Model
from nmoe_sim.engine.radio.fading import NoFading
from nmoe_sim.engine.radio.link_adaptation import Shannon
from nmoe_sim.engine.radio.path_loss import FreeSpace
from nmoe_sim.engine.sharing import Fdma, MaxMin
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Topology
from nmoe_sim.inference.view import NetworkMonitor, NetworkView
from nmoe_sim.rng import RandomStreams

NOISE_W = float(thermal_noise_w(1e6, 0.0))


def gains(of: dict[str, float]) -> Given:
    """Gains in units of N/W."""
    return Given(table({pair: gain * NOISE_W for pair, gain in of.items()}, 1e-6 * NOISE_W))


DOWN = {"bs0>a": 8.0, "bs1>a": 2.0, "bs0>b": 3.0, "bs1>b": 4.0, "a>bs0": 8.0, "b>bs1": 4.0}


def topology_of_two_cells() -> Topology:
    wire = ("bs0", "bs1", Wired(2e6, 0.25))
    return network(["a-bs0", "a-bs1", "b-bs0", "b-bs1"], [wire], places={"bs1": (100.0, 0.0)})


def two_cells(**changes: Any) -> Simulation:
    return simulation(topology_of_two_cells(), radio(**{"channel": gains(DOWN), **changes}))


class East(GaussMarkov):
    """Everybody walks east at ``mean_speed_m_per_s``."""

    def trajectory(self, start_m, bounds_m, uniform, names):
        def positions_m(t_s):
            return start_m + np.atleast_1d(t_s)[:, None, None] * np.array([self.mean_speed_m_per_s, 0.0])

        return SimpleNamespace(positions_m=positions_m)


# --- base stations --------------------------------------------------------------------------------------


def test_devices_start_at_the_base_station_they_receive_best() -> None:
    run = two_cells()
    assert run.topology.serving("a").name == "bs0"
    assert run.topology.serving("b").name == "bs1"
    expected_dbm = 40 + 10 * np.log10(np.array([[8.0, 2.0], [3.0, 4.0]]) * NOISE_W)
    np.testing.assert_allclose(run.received_dbm(0.0), expected_dbm)


def test_of_equals_the_first_is_taken() -> None:
    run = two_cells(channel=Given(lambda a, b, t: 1e-9))
    assert [run.topology.serving(name).name for name in ("a", "b")] == ["bs0", "bs0"]


def test_a_device_attaches_only_where_it_has_a_link() -> None:
    """b receives bs0 best and has no link there; c has no base station at all."""
    topology = network(["a-bs0", "a-bs1", "b-bs1", "b-c"], places={"bs1": (100.0, 0.0)})
    run = simulation(topology, radio(channel=gains({**DOWN, "bs0>b": 99.0})))
    assert [run.topology.serving(name) for name in ("b", "c")] == [topology["bs1"], None]
    received_dbm = run.received_dbm(0.0)
    np.testing.assert_array_equal(np.isfinite(received_dbm), [[True, True], [False, True], [False, False]])


def test_base_stations_of_one_cell_need_no_choice() -> None:
    run = simulation(network(["a-bs0", "b-bs0"]), radio())
    assert run.topology.serving("a").name == "bs0"


# --- what a planner can know ----------------------------------------------------------------------------


def test_mean_delay_is_access_size_over_rate_and_delays_of_wires() -> None:
    """1 MHz: 8 Mbit/s for a up, 40 Mbit/s down to b (10 W), 2 Mbit/s on the wire; interference isn't foreseen."""
    run = two_cells(access_delay_s=0.01)
    bits = 8 * 1_000_000
    up_s, wire_s, down_s = 0.01 + bits / 8e6, 0.25 + bits / 2e6, 0.01 + bits / 40e6
    assert run.mean_delay_s("a", "bs0", 1_000_000) == pytest.approx(up_s)
    assert run.mean_delay_s("a", "b", 1_000_000) == pytest.approx(up_s + wire_s + down_s)
    assert run.mean_delay_s("a", "a", 1_000_000) == 0.0
    whole = two_cells(access_delay_s=0.01, sharing=MaxMin())
    assert whole.mean_delay_s("a", "b", 1_000_000) == pytest.approx(0.01 + 0.25 + 0.01 + bits / 2e6)


def test_end_to_end_takes_the_busiest_mediums_hops_together() -> None:
    """Both directions of a half-duplex cell are one medium, whose airtimes add up; separate ones overlap."""
    channel, bits = gains({"a>bs0": 8.0, "bs0>b": 0.4}), 8 * 1_000_000
    up_s, down_s = bits / 8e6, bits / 4e6  # 0.4 at 1 W is 4 at 10 W
    for duplex, expected_s in (("half", up_s + down_s), ("full", max(up_s, down_s))):
        run = simulation(network(["a-bs0", "b-bs0"]), radio(channel=channel, sharing=MaxMin(), duplex=duplex))
        assert run.mean_delay_s("a", "b", 1_000_000) == pytest.approx(expected_s)
        run.network.send("a", "b", 1_000_000, "features")
        run.env.run()
        assert run.env.now == pytest.approx(expected_s)  # and that is what it takes


def test_an_aged_view_stays_what_it_was_when_a_device_moves_and_hands_over() -> None:
    """a walks away from bs0, hands over to bs1 at 2 s; who looks only every 5 s plans with what was then."""
    heights = {"device_height_m": 5.0, "base_station_height_m": 5.0}
    changes = {"channel": Model(), "path_loss": FreeSpace(), "fading": NoFading(), **heights}
    places = {"a": (10.0, 0.0), "bs1": (300.0, 0.0)}
    topology = network(["a-bs0", "a-bs1"], [("bs0", "bs1", Wired(1e9, 0.5))], places=places)
    run = simulation(topology, radio(**changes), mobility=East(mean_speed_m_per_s=10.0, step_s=1.0))
    monitor = NetworkMonitor(run, ("a",), period_s=5.0)

    def delay_s(view: NetworkView) -> float:
        return view.mean_delay_s("a", "bs0", 1000)

    view, current_s = monitor.view(), run.mean_delay_s("a", "bs0", 1000)
    near_db = view.snr_db("a", "bs0")
    assert delay_s(view) == current_s
    run.env.run(until=2.0)
    run.topology.attach("a", "bs1")
    run.env.run(until=4.0)
    assert run.mean_delay_s("a", "bs0", 1000) > 0.5 > current_s  # over the wire by now
    assert monitor.view() is view
    assert (view.t_s, delay_s(view), view.snr_db("a", "bs0")) == (0.0, current_s, near_db)
    assert view.mean_delay_s("a", "bs1", 1000) == pytest.approx(current_s + 0.5 + 8e-6)
    run.env.run(until=5.0)
    now_s = run.mean_delay_s("a", "bs0", 1000)
    run.env.run(until=9.5)
    aged = monitor.view()
    assert (aged.t_s, delay_s(aged)) == (5.0, now_s)
    assert aged.snr_db("a", "bs1") == pytest.approx(near_db - 20 * math.log10(240 / 10), abs=1e-6)
    assert aged.snr_db("a", "bs0") == aged.snr_db("a", "bs1")  # over the wire from there
    assert run.outlook().snr_db("a", "bs1") > aged.snr_db("a", "bs1")  # it has come closer since
    assert delay_s(view) == current_s  # whoever kept it, too
    monitor.stop()


def test_mean_delay_without_a_route_or_a_rate_is_infinite() -> None:
    topology = network(["a-b", "c-d"])
    run = simulation(topology, radio(channel=Given(table({"a>b": 1e-9}))))
    assert run.mean_delay_s("a", "c", 1) == math.inf
    assert run.mean_delay_s("c", "d", 1) == math.inf
    assert 0 < run.mean_delay_s("a", "b", 1) < math.inf


def test_a_hop_without_a_rate_costs_the_outage_timeout_where_nodes_move() -> None:
    """It may have one at the next look; who never moves never has."""
    changes = {"channel": Given(table({"bs0>b": 1e-9})), "outage_timeout_s": 2.5, "access_delay_s": 0.25}
    topology = network(["a-bs0", "b-bs0"])
    assert simulation(topology, radio(**changes)).mean_delay_s("a", "b", 1) == math.inf
    moving = simulation(topology, radio(**changes), mobility=East())
    assert moving.mean_delay_s("a", "b", 1) == pytest.approx(0.25 + 2.5 + moving.mean_delay_s("bs0", "b", 1))


def test_mean_delay_is_what_a_lone_payload_takes_without_fading() -> None:
    run = two_cells(access_delay_s=0.01)
    run.network.send("a", "b", 1_000_000, "features")
    run.env.run()
    assert run.env.now == pytest.approx(run.mean_delay_s("a", "b", 1_000_000), rel=1e-12)


def test_mean_delay_follows_devices_that_move() -> None:
    """Free space: twice as far is a quarter of the power, looked at every second."""

    class Away(GaussMarkov):
        def trajectory(self, start_m, bounds_m, uniform, names):
            class East:
                def positions_m(self, t_s):
                    return start_m + np.asarray(t_s)[:, None, None] * np.array([10.0, 0.0])

            return East()

    topology = network(["a-bs0"], places={"a": (10.0, 0.0)})
    changes = {"channel": Model(), "path_loss": FreeSpace(), "fading": NoFading()}
    heights = {"device_height_m": 5.0, "base_station_height_m": 5.0}
    run = simulation(topology, radio(**changes, **heights), mobility=East(mean_speed_m_per_s=10.0, step_s=1.0))
    near_s = run.mean_delay_s("a", "bs0", 1000)
    run.env.run(until=0.9)
    assert run.mean_delay_s("a", "bs0", 1000) == near_s
    run.env.run(until=1.0)
    assert run.mean_delay_s("a", "bs0", 1000) == pytest.approx(4 * near_s)
    run.env.run(until=3.5)
    assert run.mean_delay_s("a", "bs0", 1000) == pytest.approx(16 * near_s)


def test_mean_delay_is_of_the_last_look_whatever_rounding_does_to_the_time() -> None:
    """0.3 s are three steps of 0.1 s, and 0.3 / 0.1 is less than 3."""

    def moving() -> Simulation:
        changes = {"channel": Model(), "path_loss": FreeSpace(), "fading": NoFading()}
        topology = network(["a-bs0"], places={"a": (10.0, 0.0)})
        return simulation(topology, radio(**changes), mobility=East(mean_speed_m_per_s=10.0, step_s=0.1))

    asked_often, asked_once = moving(), moving()
    for t_s in (0.05, 0.25, 0.3):
        asked_often.env.run(until=t_s)
        delay_s = asked_often.mean_delay_s("a", "bs0", 1000)
    asked_once.env.run(until=0.3)
    assert delay_s == asked_once.mean_delay_s("a", "bs0", 1000)


# --- transfers ------------------------------------------------------------------------------------------


def test_cells_on_one_band_slow_each_other_down_while_both_transmit() -> None:
    """a sends 8 Mbit to bs0 and b to bs1 at once, SINRs of 8/(1+3) and 4/(1+1); then a's rest is sent alone."""
    channel = gains({**DOWN, "b>bs0": 3.0, "a>bs1": 1.0})
    run = two_cells(channel=channel)
    run.network.send("a", "bs0", 1_000_000, "features")
    run.network.send("b", "bs1", 500_000, "features")
    run.env.run()
    rows = run.recorder.arrow("transfers").to_pandas().set_index("src")
    assert rows["t_end_s"].to_dict() == pytest.approx({"b": 2.0, "a": 2.0 + (8e6 - 2 * 2e6) / 8e6})
    assert rows["sinr_db"].to_dict() == pytest.approx({"a": 10 * np.log10(2), "b": 10 * np.log10(2)})
    assert rows["medium"].to_dict() == {"a": "uplink:bs0", "b": "uplink:bs1"}
    apart = two_cells(channel=channel, reuse_factor=2)
    apart.network.send("a", "bs0", 1_000_000, "features")
    apart.network.send("b", "bs1", 500_000, "features")
    apart.env.run()
    assert apart.env.now == pytest.approx(1.0)  # half of the band, half of the noise: 8 Mbit/s each


def test_half_duplex_radios_of_concurrent_sidelinks_have_half_of_the_time() -> None:
    run = simulation(network(["a-b", "b-c"]), radio(channel=gains({"a>b": 8.0, "b>c": 4.0}), sidelinks="concurrent"))
    run.network.send("a", "b", 1_000_000, "features")
    run.network.send("b", "c", 500_000, "features")
    run.env.run()
    rows = run.recorder.arrow("transfers").to_pandas().set_index("src")
    assert rows["t_end_s"].to_dict() == pytest.approx({"a": 2.0, "b": 2.0}, rel=1e-5)
    assert rows["airtime_s"].to_dict() == pytest.approx({"a": 1.0, "b": 1.0}, rel=1e-5)


def test_fdma_puts_the_power_into_a_part_of_the_band() -> None:
    """A rate in proportion to SINR: half of the band at twice the SINR is what the whole band carries."""
    run = simulation(network(["a-bs0", "b-bs0"]), radio(channel=gains({"a>bs0": 8.0, "b>bs0": 8.0}), sharing=Fdma()))
    for name in ("a", "b"):
        run.network.send(name, "bs0", 1_000_000, "features")
    run.env.run()
    assert run.env.now == pytest.approx(1.0)


def test_a_link_without_gain_is_an_outage() -> None:
    changes = {"channel": Given(lambda a, b, t: 0.0, 0.1), "outage_timeout_s": 0.5}
    run = simulation(network(["a-bs0"]), radio(**changes))
    sent = run.network.send("a", "bs0", 1000, "features")
    run.env.run(sent)
    assert sent.value is False
    rows = run.recorder.arrow("transfers").to_pandas()
    assert rows["outcome"].tolist() == ["outage"] * 4
    assert (rows["t_end_s"] - rows["t_start_s"]).tolist() == pytest.approx([0.5] * 4)


def test_loss_of_the_law_reaches_the_transfers() -> None:
    law = Proportional(block_loss=0.5, block_bits=8000.0, mean_transmissions=3.0, retransmission_delay_s=0.01)
    run = simulation(network(["a-bs0"]), radio(channel=gains({"a>bs0": 8.0}), link_adaptation=law))
    sends = [run.network.send("a", "bs0", 1000, "features", request_id=number) for number in range(20)]
    run.env.run()
    rows = run.recorder.arrow("transfers").to_pandas()
    ends = [run.topology.index[name] for name in ("a", "bs0", "a", "bs0")]  # of the payload, of the link
    keys = (rows["request_id"].astype(int) + 1, 0, *ends, rows["hop"], rows["attempt"])
    draws = RandomStreams(0).uniform("loss/None/features", *keys)
    assert rows["outcome"].tolist() == ["lost" if draw < 0.5 else "delivered" for draw in draws]
    assert 0 < (rows["outcome"] == "lost").sum() < len(rows)
    np.testing.assert_allclose(rows["tail_s"], 0.02)
    np.testing.assert_allclose(rows["retransmissions"], 2.0)
    assert all(sent.triggered for sent in sends)


def test_a_device_that_walks_from_cell_to_cell_hands_over_and_loses_no_payload() -> None:
    """From bs0 to bs1 in 20 s, 100 m apart; a payload that lasts all the way goes on at the new base station."""

    class Walk(GaussMarkov):
        def trajectory(self, start_m, bounds_m, uniform, names):
            class East:
                def positions_m(self, t_s):
                    return start_m + np.asarray(t_s)[:, None, None] * np.array([5.0, 0.0])

            return East()

    topology = Topology(
        [Node("a", "device", 0.0, 5.0), Node("bs0", "base_station", 0.0, 0.0), Node("bs1", "base_station", 100.0, 0.0)],
        [("a", "bs0"), ("a", "bs1")],
        [("bs0", "bs1", Wired(1e9, 0.001))],
    )
    run = simulation(
        topology,
        radio(channel=Model(), link_adaptation=Shannon(max_bps_per_hz=4.0), bandwidth_hz=1e5),
        mobility=East(mean_speed_m_per_s=5.0, step_s=0.1),
        handover=A3Handover(interruption_s=0.05),
    )
    sent = run.network.send("a", "bs0", 700_000, "features")  # 14 s at 400 kbit/s
    run.env.run(sent)
    assert sent.value is True
    [handover] = run.recorder.arrow("handovers").to_pandas().to_dict("records")
    assert (handover["device"], handover["from_station"], handover["to_station"]) == ("a", "bs0", "bs1")
    assert handover["num_aborted"] == 1
    assert 10.0 < handover["t_s"] < 13.0  # past the middle by hysteresis, time to trigger and the filter
    rows = run.recorder.arrow("transfers").to_pandas()
    assert rows["outcome"].tolist() == ["link_down", "delivered", "delivered"]
    assert rows["dst"].tolist() == ["bs0", "bs1", "bs0"]
    assert rows["medium"].tolist() == ["uplink:bs0", "uplink:bs1", "wired:bs1>bs0"]
    assert rows["t_end_s"][0] == handover["t_s"]
    assert rows["t_start_s"][1] >= handover["t_s"] + 0.05
    assert rows["bytes_sent"][0] == pytest.approx(50_000 * handover["t_s"], rel=1e-3)


@pytest.mark.parametrize(("duplex", "end_s"), [("full", 1.0), ("half", 2.0)])
def test_duplex_is_a_setting_of_the_radio(duplex: str, end_s: float) -> None:
    law = Shannon(max_bps_per_hz=1.0)  # gains are good enough for the cap
    section = radio(duplex=duplex, tx_power_dbm=23.0, base_station_tx_power_dbm=33.0, link_adaptation=law)
    nodes = [Node("a", "device", 0, 0), Node("b", "device", 30, 0), Node("bs", "base_station", 10, 0)]
    topology = Topology(nodes, [("a", "bs"), ("b", "bs"), ("a", "b")])
    run = Simulation.build(topology, {node.name: Phone() for node in nodes}, section, RandomStreams(0))
    sent = [run.network.send(*ends, 125_000, "features") for ends in (("a", "bs"), ("bs", "b"))]
    run.env.run(run.env.all_of(sent))
    assert run.env.now == pytest.approx(end_s, rel=1e-12)
    assert run.mean_delay_s("a", "bs", 125_000) == pytest.approx(1.0, rel=1e-12)
    media = {allocation.medium for group in run.groups for allocation in group.allocations}
    assert media == ({"shared"} if duplex == "half" else {"uplink", "downlink", "sidelink"})
    assert run.devices["a"].tx_w == pytest.approx(Phone().tx_circuit_w + 10**-0.7 / 0.3, rel=1e-12)  # 23 dBm
    assert run.devices["bs"].tx_w == pytest.approx(Phone().tx_circuit_w + 10**0.3 / 0.3, rel=1e-12)  # 33 dBm


def test_profiles_are_those_of_the_names() -> None:
    run = simulation(network(["a-bs0"]), radio())
    assert {name: device.tx_w for name, device in run.devices.items()} == pytest.approx({"a": 1.0, "bs0": 10.0})
    assert run.devices["a"].rx_w == PROFILE.rx_w
    assert run.is_static
