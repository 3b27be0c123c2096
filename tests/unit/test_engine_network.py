from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from simpy import Environment

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.device_profiles import Custom, Phone
from nmoe_sim.engine.network import Network
from nmoe_sim.engine.radio import FreeSpace, NoFading, NoShadowing, Shannon
from nmoe_sim.engine.sharing import EqualShare, EqualShareMedium
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.engine.topology import Node, NoRouteError, Topology
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RadioSection

PROFILE = Custom(
    flop_per_s=1.0, memory_bytes=1, idle_w=0.0, compute_w=0.0, rx_w=0.5, tx_circuit_w=0.0, amplifier_efficiency=1.0
)
TX_W = {"a": 1.0, "b": 2.0, "bs": 10.0}


class Constant:
    """80 bit/s on every link: 10 bytes a second."""

    block_s = math.inf

    def rate_bps(self, link: int, block: int) -> float:
        return 80.0


class World:
    """Devices a and b at a base station, and one that nobody reaches; media by name of the link's."""

    def __init__(self, *, access_delay_s: float = 0.0, medium_of: Callable[[str], str] = lambda name: name) -> None:
        self.env, self.recorder = Environment(), Recorder()
        nodes = [Node("a", "device", 0, 0), Node("b", "device", 3, 4), Node("c", "device", 9, 9)]
        self.topology = Topology([*nodes, Node("bs", "base_station", 1, 0)], [("a", "bs"), ("b", "bs")])
        self.devices = {
            node.name: Device(self.env, node.name, PROFILE, tx_w=TX_W.get(node.name, 0.0), recorder=self.recorder)
            for node in self.topology.nodes
        }
        shared: dict[str, EqualShareMedium] = {}
        media = {}
        for link in self.topology.links:
            name = medium_of(link.medium)
            media[link.index] = (name, 0, shared.setdefault(name, EqualShareMedium(self.env, Constant())))
        self.network = Network(self.env, self.topology, self.devices, media, self.recorder, access_delay_s)

    def run(self, *events) -> list[float]:
        """Return when each event fired."""
        times: list[float] = [math.nan] * len(events)
        for i, event in enumerate(events):
            event.callbacks.append(lambda _, i=i: times.__setitem__(i, self.env.now))
        self.env.run()
        return times

    def rows(self, *columns: str) -> list[tuple]:
        self.recorder.arrow("transfers")  # fits its declaration
        names = TABLES["transfers"].column_names
        return [tuple(row[names.index(column)] for column in columns) for row in self.recorder.rows["transfers"]]

    def joules(self, training: bool) -> Mapping[tuple[str, str], float]:
        return {
            (name, component): energy_j
            for name, device in self.devices.items()
            for (component, of_training), energy_j in device.energy.joules.items()
            if of_training is training and energy_j
        }


def test_a_payload_is_stored_and_forwarded_hop_by_hop() -> None:
    world = World()
    delivered = world.network.send("a", "b", 20, "features", request_id=4)
    assert world.run(delivered) == [4.0]
    assert world.rows("payload_id", "hop", "src", "dst", "medium", "t_ready_s", "t_start_s", "t_end_s") == [
        (0, 0, "a", "bs", "uplink", 0.0, 0.0, 2.0),
        (0, 1, "bs", "b", "downlink", 2.0, 2.0, 4.0),
    ]
    assert (
        world.rows("request_id", "stage", "round", "kind", "n_bytes", "mean_rate_bps", "outcome")
        == [(4, None, None, "features", 20, 80.0, "delivered")] * 2
    )


def test_sender_and_receiver_draw_power_for_the_airtime_in_their_phase() -> None:
    world = World()
    world.run(world.network.send("a", "b", 20, "features", request_id=0))
    assert world.joules(training=False) == {("a", "tx"): 2.0, ("bs", "rx"): 1.0, ("bs", "tx"): 20.0, ("b", "rx"): 1.0}
    assert world.joules(training=True) == {}
    world.run(world.network.send("b", "bs", 10, "model_up", stage="gate", round=3))
    assert world.joules(training=True) == {("b", "tx"): 2.0, ("bs", "rx"): 0.5}
    assert world.rows("stage", "round", "tx_energy_j", "rx_energy_j")[-1] == ("gate", 3, 2.0, 0.5)


def test_a_radio_that_carries_two_transfers_draws_its_power_once() -> None:
    world = World()
    assert world.run(*(world.network.send("a", "bs", 10, "features") for _ in range(2))) == [2.0, 2.0]
    assert world.rows("airtime_s", "mean_rate_bps") == [(1.0, 40.0)] * 2
    assert world.joules(training=False) == {("a", "tx"): 2.0, ("bs", "rx"): 1.0}


def test_uplink_and_downlink_are_media_of_their_own() -> None:
    world = World()
    sends = (world.network.send("a", "bs", 10, "model_up"), world.network.send("bs", "b", 10, "model_down"))
    assert world.run(*sends) == [1.0, 1.0]


def test_half_duplex_shares_one_medium() -> None:
    world = World(medium_of=lambda name: "shared")
    sends = (world.network.send("a", "bs", 10, "model_up"), world.network.send("bs", "b", 10, "model_down"))
    assert world.run(*sends) == [2.0, 2.0]
    assert world.rows("medium", "airtime_s") == [("shared", 1.0)] * 2


def test_access_delay_comes_before_every_hop_and_draws_nothing() -> None:
    world = World(access_delay_s=0.25)
    assert world.run(world.network.send("a", "b", 20, "features")) == [4.5]
    assert world.rows("t_ready_s", "t_start_s", "t_end_s", "airtime_s") == [
        (0.0, 0.25, 2.25, 2.0),
        (2.25, 2.5, 4.5, 2.0),
    ]
    assert world.joules(training=False)["a", "tx"] == 2.0


def test_waiting_for_access_takes_nothing_from_others() -> None:
    world = World(access_delay_s=10.0)
    first = world.network.send("a", "bs", 10, "features")
    world.env.run(until=5.0)
    second = world.network.send("b", "bs", 10, "features")
    assert world.run(first, second) == [11.0, 16.0]


def test_from_a_device_to_itself_takes_no_time_and_leaves_no_row() -> None:
    world = World(access_delay_s=0.25)
    assert world.run(world.network.send("a", "a", 20, "features")) == [0.0]
    assert world.rows("transfer_id") == []


def test_no_route_is_an_error() -> None:
    with pytest.raises(NoRouteError, match="no route from a to c"):
        World().network.send("a", "c", 1, "features")


def test_an_empty_payload_has_no_rate() -> None:
    world = World()
    assert world.run(world.network.send("a", "bs", 0, "features")) == [0.0]
    assert world.rows("airtime_s", "mean_rate_bps", "tx_energy_j") == [(0.0, None, 0.0)]


@pytest.mark.parametrize(("duplex", "end_s"), [("full", 1.0), ("half", 2.0)])
def test_duplex_is_a_setting_of_the_radio(duplex: str, end_s: float) -> None:
    radio = RadioSection(
        duplex=duplex,
        access_delay_s=0.0,
        path_loss=FreeSpace(),
        shadowing=NoShadowing(),
        fading=NoFading(),
        link_adaptation=Shannon(max_bps_per_hz=1.0),  # the SNR is good enough for the cap
        bandwidth_hz=1e6,
        sharing=EqualShare(),
    )
    nodes = [Node("a", "device", 0, 0), Node("b", "device", 30, 0), Node("bs", "base_station", 10, 0)]
    topology = Topology(nodes, [("a", "bs"), ("b", "bs"), ("a", "b")])
    simulation = Simulation.build(topology, {node.name: Phone() for node in nodes}, radio, RandomStreams(0))
    simulation.network.send("a", "bs", 125_000, "features")
    simulation.network.send("bs", "b", 125_000, "features")
    simulation.env.run()
    assert simulation.env.now == pytest.approx(end_s, rel=1e-12)
    assert simulation.mean_delay_s("a", "bs", 125_000) == pytest.approx(1.0, rel=1e-12)
    assert simulation.mean_delay_s("a", "a", 125_000) == 0.0
    media = {"shared"} if duplex == "half" else {"uplink", "downlink", "sidelink"}
    assert set(simulation.links) == media
    assert simulation.devices["a"].tx_w == pytest.approx(Phone().tx_circuit_w + 10**-0.7 / 0.3, rel=1e-12)  # 23 dBm
    assert simulation.devices["bs"].tx_w == pytest.approx(Phone().tx_circuit_w + 10**0.3 / 0.3, rel=1e-12)  # 33 dBm
