"""Hops of payloads on the clock, by hand: 80 bit/s on every link unless said otherwise, 10 bytes a second."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fake_band import FakeBand
from fake_radio import PROFILE, network, radio
from simpy import Environment
from simpy.events import Event

from nmoe_sim.engine import network as module
from nmoe_sim.engine.device import Device
from nmoe_sim.engine.links import Wired
from nmoe_sim.engine.network import Network, Place
from nmoe_sim.engine.routes import NoRouteError
from nmoe_sim.engine.sharing import EqualShare, MaxMin, Sharing
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import RunError
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import RetrySection

TX_W = {"a": 1.0, "b": 2.0, "bs0": 10.0}
SEED = 4


class World:
    """Devices a and b at a base station, and one that nobody reaches; media by name of the link's."""

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        rates: Mapping[str, Sequence[float]] | None = None,
        medium_of: Callable[[str], str] = lambda name: name,
        sharing: Sharing | None = None,
        band: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.env, self.recorder = Environment(), Recorder()
        self.topology = topology or network(["a-bs0", "b-bs0"], places={"c": (9.0, 9.0)})
        self.devices = {
            node.name: Device(self.env, node.name, PROFILE, tx_w=TX_W.get(node.name, 0.0), recorder=self.recorder)
            for node in self.topology.nodes
        }
        policy = sharing or EqualShare()
        members: dict[str, list[Any]] = {}
        for link in self.topology.links:
            key = f"wired:{link.src.name}>{link.dst.name}" if link.wired else medium_of(link.medium)
            members.setdefault("" if policy.end_to_end else key, []).append((key, link))
        media = {}
        for group in members.values():
            names = list(dict.fromkeys(name for name, _ in group))
            fake = FakeBand(
                [
                    [link.wired.capacity_bps]
                    if link.wired
                    else (rates or {}).get(f"{link.src.name}>{link.dst.name}", [80])
                    for _, link in group
                ],
                medium=[names.index(name) for name, _ in group],
                sender=[self.topology.index[link.src.name] for _, link in group],
                receiver=[self.topology.index[link.dst.name] for _, link in group],
                is_coupled=len(names) > 1,
                **(band or {}) if group[0][1].wired is None or policy.end_to_end else {},
            )
            shared = policy.media(self.env, fake)
            media.update({link.index: Place(name, i, i, shared) for i, (name, link) in enumerate(group)})
        section = radio(sharing=policy, **settings)
        streams = RandomStreams(SEED)
        self.network = Network(self.env, self.topology, self.devices, media, self.recorder, section, streams)  # type: ignore[arg-type]

    def run(self, *events: Event) -> list[float]:
        """Return when each event fired."""
        times: list[float] = [math.nan] * len(events)
        for i, event in enumerate(events):
            event.callbacks.append(lambda _, i=i: times.__setitem__(i, self.env.now))
        self.env.run()
        return times

    def at(self, t_s: float, act: Callable[[], Any]) -> None:
        """Have something done at a time."""
        event = self.env.timeout(t_s - self.env.now)
        event.callbacks.append(lambda _: act())

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


TIMES = ("t_ready_s", "t_start_s", "t_end_s")

# --- hops -----------------------------------------------------------------------------------------------


def test_a_payload_is_stored_and_forwarded_hop_by_hop() -> None:
    world = World()
    delivered = world.network.send("a", "b", 20, "features", request_id=4)
    assert world.run(delivered) == [4.0]
    assert delivered.value is True
    assert world.rows("payload_id", "hop", "attempt", "src", "dst", "medium", *TIMES) == [
        (0, 0, 0, "a", "bs0", "uplink", 0.0, 0.0, 2.0),
        (0, 1, 0, "bs0", "b", "downlink", 2.0, 2.0, 4.0),
    ]
    assert (
        world.rows("request_id", "stage", "round", "kind", "n_bytes", "bytes_sent", "mean_rate_bps", "outcome")
        == [(4, None, None, "features", 20, 20, 80.0, "delivered")] * 2
    )
    assert world.rows("sinr_db", "retransmissions", "tail_s") == [(pytest.approx(10 * np.log10(80)), 0.0, 0.0)] * 2


def test_sender_and_receiver_draw_power_for_the_airtime_in_their_phase() -> None:
    world = World()
    world.run(world.network.send("a", "b", 20, "features", request_id=0))
    assert world.joules(training=False) == {("a", "tx"): 2.0, ("bs0", "rx"): 1.0, ("bs0", "tx"): 20.0, ("b", "rx"): 1.0}
    assert world.joules(training=True) == {}
    world.run(world.network.send("b", "bs0", 10, "model_up", stage="gate", round=3))
    assert world.joules(training=True) == {("b", "tx"): 2.0, ("bs0", "rx"): 0.5}
    assert world.rows("stage", "round", "tx_energy_j", "rx_energy_j")[-1] == ("gate", 3, 2.0, 0.5)


def test_a_radio_that_carries_two_transfers_draws_its_power_once() -> None:
    world = World()
    assert world.run(*(world.network.send("a", "bs0", 10, "features") for _ in range(2))) == [2.0, 2.0]
    assert world.rows("airtime_s", "rx_airtime_s", "mean_rate_bps") == [(1.0, 1.0, 40.0)] * 2
    assert world.joules(training=False) == {("a", "tx"): 2.0, ("bs0", "rx"): 1.0}


def test_uplink_and_downlink_are_media_of_their_own() -> None:
    world = World()
    sends = (world.network.send("a", "bs0", 10, "model_up"), world.network.send("bs0", "b", 10, "model_down"))
    assert world.run(*sends) == [1.0, 1.0]


def test_half_duplex_shares_one_medium() -> None:
    world = World(medium_of=lambda name: "shared")
    sends = (world.network.send("a", "bs0", 10, "model_up"), world.network.send("bs0", "b", 10, "model_down"))
    assert world.run(*sends) == [2.0, 2.0]
    assert world.rows("medium", "airtime_s") == [("shared", 1.0)] * 2


def test_access_delay_comes_before_every_hop_and_draws_nothing() -> None:
    world = World(access_delay_s=0.25)
    assert world.run(world.network.send("a", "b", 20, "features")) == [4.5]
    assert world.rows(*TIMES, "airtime_s") == [(0.0, 0.25, 2.25, 2.0), (2.25, 2.5, 4.5, 2.0)]
    assert world.joules(training=False)["a", "tx"] == 2.0


def test_waiting_for_access_takes_nothing_from_others() -> None:
    world = World(access_delay_s=10.0)
    first = world.network.send("a", "bs0", 10, "features")
    world.env.run(until=5.0)
    second = world.network.send("b", "bs0", 10, "features")
    assert world.run(first, second) == [11.0, 16.0]


def test_from_a_device_to_itself_takes_no_time_and_leaves_no_row() -> None:
    world = World(access_delay_s=0.25)
    event = world.network.send("a", "a", 20, "features")
    assert world.run(event) == [0.0]
    assert event.value is True
    assert world.rows("transfer_id") == []


def test_an_empty_payload_has_no_rate() -> None:
    world = World()
    assert world.run(world.network.send("a", "bs0", 0, "features")) == [0.0]
    assert world.rows("airtime_s", "mean_rate_bps", "tx_energy_j") == [(0.0, None, 0.0)]


# --- wires ----------------------------------------------------------------------------------------------

WIRED = network(["a-bs0", "b-bs1"], [("bs0", "bs1", Wired(40.0, 0.25))], places={"bs1": (50.0, 0.0)})


def test_a_wire_has_a_delay_and_costs_no_energy() -> None:
    """At 40 bit/s the 20 bytes take 4 s of the wire; access is a matter of radio."""
    world = World(WIRED, access_delay_s=0.5)
    assert world.run(world.network.send("a", "b", 20, "features")) == [2.5 + 4.25 + 2.5]
    assert world.rows("src", "dst", "medium", *TIMES) == [
        ("a", "bs0", "uplink", 0.0, 0.5, 2.5),
        ("bs0", "bs1", "wired:bs0>bs1", 2.5, 2.5, 6.75),
        ("bs1", "b", "downlink", 6.75, 7.25, 9.25),
    ]
    columns = ("airtime_s", "rx_airtime_s", "sinr_db", "tail_s", "tx_energy_j", "rx_energy_j")
    assert world.rows(*columns)[1] == (None, None, None, 0.25, 0.0, 0.0)
    assert world.rows("mean_rate_bps")[1] == (160 / 4.25,)
    assert world.joules(training=False) == {("a", "tx"): 2.0, ("bs0", "rx"): 1.0, ("b", "rx"): 1.0}


def test_the_delay_of_a_wire_does_not_occupy_it() -> None:
    world = World(WIRED)
    first, second = world.network.send("bs0", "bs1", 20, "x"), None
    world.env.run(until=4.0)  # its last bit is under way
    second = world.network.send("bs0", "bs1", 20, "x")
    assert world.run(first, second) == [4.25, 8.25]


# --- failures -------------------------------------------------------------------------------------------


def failing(rates: Sequence[float], **retry: Any) -> World:
    """The uplink of a has these rates, one a second; without one for a second it is in outage."""
    return World(rates={"a>bs0": rates}, band={"block_s": 1.0, "outage_timeout_s": 1.0}, retry=RetrySection(**retry))


def test_pauses_double_up_to_a_longest_one_and_inference_gives_up() -> None:
    world = failing([0.0], max_retries=4, backoff_s=0.25, max_backoff_s=0.75)
    sent = world.network.send("a", "b", 10, "features", request_id=7)
    # fails at 1; 1.25 to 2.25; 2.75 to 3.75; 4.5 to 5.5; 6.25 to 7.25
    assert world.run(sent) == [7.25]
    assert sent.value is False
    assert world.rows("payload_id", "hop", "attempt", *TIMES) == [
        (0, 0, 0, 0.0, 0.0, 1.0),
        (0, 0, 1, 1.0, 1.25, 2.25),
        (0, 0, 2, 2.25, 2.75, 3.75),
        (0, 0, 3, 3.75, 4.5, 5.5),
        (0, 0, 4, 5.5, 6.25, 7.25),
    ]
    assert world.rows("outcome", "bytes_sent", "request_id", "sinr_db") == [("outage", 0, 7, -math.inf)] * 5


@pytest.mark.parametrize("max_retries", [0, 2])
def test_attempts_are_counted(max_retries: int) -> None:
    world = failing([0.0], max_retries=max_retries)
    sent = world.network.send("a", "bs0", 10, "features")
    world.run(sent)
    assert sent.value is False
    assert len(world.rows("attempt")) == 1 + max_retries


def test_training_goes_on_until_it_gets_through() -> None:
    world = failing([0.0] * 40 + [80.0], max_retries=0, backoff_s=0.5, max_backoff_s=1.0)
    sent = world.network.send("a", "b", 10, "model_up", stage="extractor", round=0)
    world.run(sent)
    assert sent.value is True
    outcomes = [outcome for (outcome,) in world.rows("outcome")]
    assert len(outcomes) > 15
    assert set(outcomes[:-2]) == {"outage"}
    assert outcomes[-2:] == ["delivered"] * 2
    assert world.rows("hop", "attempt")[-1] == (1, 0)  # the next hop is a new one


def test_training_that_never_gets_through_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ATTEMPTS", 6)
    world = failing([0.0])
    world.network.send("a", "b", 1234, "model_up", stage="gate", round=0)
    message = r"1,234 bytes \(gate, model_up\) did not get from a to b in 6 attempts; bring them closer"
    with pytest.raises(RunError, match=message):
        world.env.run()
    assert len(world.rows("attempt")) == 7


def test_attempts_of_a_later_hop_count_from_zero_and_start_there() -> None:
    """The downlink has no rate for two seconds and a half; the payload waits at the base station."""
    world = World(
        rates={"bs0>b": [0.0] * 4 + [80.0], "a>bs0": [0.0, 80.0]},
        band={"block_s": 1.0, "outage_timeout_s": 0.5},
        retry=RetrySection(max_retries=4, backoff_s=0.5, max_backoff_s=0.5),
    )
    sent = world.network.send("a", "b", 10, "features")
    assert world.run(sent) == [5.0]
    assert world.rows("hop", "attempt", "src", "t_start_s", "outcome") == [
        (0, 0, "a", 0.0, "outage"),
        (0, 1, "a", 1.0, "delivered"),
        (1, 0, "bs0", 2.0, "outage"),
        (1, 1, "bs0", 3.0, "outage"),
        (1, 2, "bs0", 4.0, "delivered"),
    ]


def test_what_is_broken_off_has_sent_a_part_and_the_rest_is_tried_again() -> None:
    world = World(retry=RetrySection(backoff_s=0.5))
    sent = world.network.send("a", "bs0", 20, "features")
    other = world.network.send("bs0", "b", 20, "output")
    uplink = world.topology.link("a", "bs0")
    found: list[int] = []
    world.at(1.0, lambda: found.append(world.network.abort([uplink], "link_down")))
    assert world.run(sent, other) == [2.5, 2.0]
    assert sent.value is True
    assert found == [1]
    columns = ("src", "attempt", "outcome", "bytes_sent", "airtime_s", "mean_rate_bps", "tx_energy_j", *TIMES)
    assert world.rows(*columns) == [
        ("a", 0, "link_down", 10, 1.0, 80.0, 1.0, 0.0, 0.0, 1.0),
        ("bs0", 0, "delivered", 20, 2.0, 80.0, 20.0, 0.0, 0.0, 2.0),
        ("a", 1, "delivered", 10, 1.0, 80.0, 1.0, 1.0, 1.5, 2.5),
    ]


def test_what_an_outage_left_is_sent_next_and_the_bytes_add_up() -> None:
    """80 bit/s for a second, nothing for two, then 40 bit/s: 10 bytes by 1 s, the other 20 from 2.5 s on."""
    world = failing([80.0, 0.0, 0.0, 40.0], backoff_s=0.5)
    assert world.run(world.network.send("a", "bs0", 30, "features")) == [7.0]
    assert world.rows("attempt", "outcome", "bytes_sent", *TIMES) == [
        (0, "outage", 10, 0.0, 0.0, 2.0),
        (1, "delivered", 20, 2.0, 2.5, 7.0),
    ]


def test_parts_of_bytes_are_not_made_up() -> None:
    """Broken off in the middle of bytes, twice; what arrives whole is all there was, at its time."""
    world = World(retry=RetrySection(backoff_s=0.5))
    uplink = world.topology.link("a", "bs0")
    for t_s in (0.33, 1.2):  # 3.3 and 3.7 bytes
        world.at(t_s, lambda: world.network.abort([uplink], "link_down"))
    assert world.run(world.network.send("a", "bs0", 20, "features")) == [pytest.approx(1.2 + 1.0 + 1.3)]
    assert world.rows("attempt", "outcome", "bytes_sent") == [
        (0, "link_down", 3),
        (1, "link_down", 3),
        (2, "delivered", 13),
    ]


def test_breaking_off_links_says_how_many_transfers_that_were() -> None:
    world = World()
    for name in ("a", "a", "b"):
        world.network.send(name, "bs0", 100, "features")
    links = [world.topology.link("a", "bs0"), world.topology.link("bs0", "a")]
    world.env.run(until=1.0)
    assert world.network.abort(links, "link_down") == 2
    assert world.network.abort(links, "link_down") == 0
    assert world.network.abort([], "link_down") == 0


# --- loss -----------------------------------------------------------------------------------------------

LOSSY = {"is_lossless": False, "block_loss": 0.5, "block_bits": 80.0}
"""Of 10 bytes every second one is lost: its one block."""


def draw(world: World, name: str, request: int, src: str, dst: str, link: str, hop: int, attempt: int) -> float:
    """The draw for features of a request from ``src`` to ``dst`` over the link ``"a>b"``."""
    ends = [world.topology.index[node] for node in (src, dst, *link.split(">"))]
    return float(RandomStreams(SEED).uniform(f"{name}/None/features", request + 1, 0, *ends, hop, attempt))


@pytest.mark.parametrize(("n_bytes", "again"), [(10, (10, 10)), (5, (5, 5)), (20, (20, 20)), (40, (30, 20))])
def test_loss_is_a_draw_of_request_hop_and_attempt(n_bytes: int, again: tuple[int, ...]) -> None:
    """As many blocks are sent again as are lost on average where any is: of four 4 ln 2 / (1 - 1/16), about 3."""
    world = World(band=LOSSY, retry=RetrySection(max_retries=2, backoff_s=0.5))
    sends = [world.network.send("a", "b", n_bytes, "features", request_id=number) for number in range(40)]
    world.run(*sends)

    def is_lost(request: int, hop: int, attempt: int) -> bool:
        num_blocks = math.ceil((n_bytes, *again)[attempt] / 10)
        return draw(world, "loss", request, "a", "b", ["a>bs0", "bs0>b"][hop], hop, attempt) < 1 - 0.5**num_blocks

    rows = world.rows("request_id", "hop", "attempt", "outcome", "bytes_sent", "airtime_s")
    for request, hop, attempt, outcome, bytes_sent, airtime_s in rows:
        assert outcome == ("lost" if is_lost(request, hop, attempt) else "delivered")
        assert bytes_sent == (n_bytes, *again)[attempt]
        assert airtime_s == pytest.approx(bytes_sent / 10)
    for request, sent in enumerate(sends):
        tries = [[is_lost(request, hop, attempt) for attempt in range(3)] for hop in range(2)]
        assert sent.value is not any(all(hop) for hop in tries)
    assert 0 < sum(sent.value for sent in sends) < 40
    assert {attempt for _, _, attempt, *_ in rows} == {0, 1, 2}


def test_of_what_is_broken_off_blocks_may_have_been_lost() -> None:
    """Half of a payload of two blocks is sent: its block is lost every second time, and then both are missing."""
    world = World(band=LOSSY, retry=RetrySection(max_retries=1))
    sends = []
    for number in range(30):
        sends.append(world.network.send("a", "bs0", 20, "features", request_id=number))
        world.env.run(until=world.env.now + 1.0)
        assert world.network.abort([world.topology.link("a", "bs0")], "link_down") == 1
        world.env.run()
    rows = world.rows("request_id", "attempt", "outcome", "bytes_sent")
    missing = {request: bytes_sent for request, attempt, _, bytes_sent in rows if attempt}
    assert {(outcome, bytes_sent) for _, attempt, outcome, bytes_sent in rows if not attempt} == {("link_down", 10)}
    lost = [draw(world, "loss", number, "a", "bs0", "a>bs0", 0, 0) < 0.5 for number in range(30)]
    assert 5 < sum(lost) < 25
    assert missing == {number: 20 if lost[number] else 10 for number in range(30)}


def test_payloads_of_one_request_over_one_link_are_lost_independently() -> None:
    """Features for two hosts, over the same uplink; and outputs of the two, over the same downlink."""
    topology = network(["a-bs0", "b-bs0", "c-bs0"])
    world = World(topology, band=LOSSY, retry=RetrySection(max_retries=0))
    for number in range(100):
        for src, dst, kind in (("a", "b", "there"), ("a", "c", "there"), ("b", "a", "back"), ("c", "a", "back")):
            world.network.send(src, dst, 10, kind, request_id=number)
    world.env.run()
    rows = world.rows("payload_id", "hop", "outcome")
    lost = {(payload, hop): outcome == "lost" for payload, hop, outcome in rows}
    there = [(lost[4 * n, 0], lost[4 * n + 1, 0]) for n in range(100)]
    back = [(lost[i, 1], lost[i + 1, 1]) for i in range(2, 400, 4) if (i, 1) in lost and (i + 1, 1) in lost]
    assert set(there) == set(back) == {(True, True), (True, False), (False, True), (False, False)}


def test_draws_are_the_same_whatever_else_is_sent() -> None:
    """Common random numbers: two policies compared on one seed see the same luck where they do the same."""

    def outcomes(others: int) -> list[tuple]:
        world = World(band={**LOSSY, **HARQ}, retry=RetrySection(max_retries=1))
        for number in range(others):
            world.network.send("b", "bs0", 10, "features", request_id=number)
            world.network.send("bs0", "a", 10, "output", request_id=number)
        for number in range(20):
            world.network.send("a", "bs0", 10, "features", request_id=number)
        world.env.run()
        columns = ("src", "request_id", "attempt", "outcome", "bytes_sent", "tail_s")
        return sorted(row for row in world.rows(*columns) if row[0] == "a")

    assert outcomes(0) == outcomes(7)
    assert len({row[3:] for row in outcomes(0)}) == 4  # each outcome with each tail


# --- the last block's retransmissions -------------------------------------------------------------------

HARQ = {"is_lossless": False, "block_bits": 80.0, "mean_transmissions": 1.5, "retransmission_delay_s": 0.4}
"""Half a retransmission a block of 10 bytes, 0.4 s after the first transmission."""


@pytest.mark.parametrize(("mean_transmissions", "tails_s"), [(1.5, (0.0, 0.4)), (2.25, (0.4, 0.8)), (3.0, (0.8,))])
def test_the_last_blocks_retransmissions_are_rounded_at_random_and_keep_their_mean(
    mean_transmissions: float, tails_s: tuple[float, ...]
) -> None:
    world = World(band={**HARQ, "mean_transmissions": mean_transmissions})
    sends = [world.network.send("a", "bs0", 10, "features", request_id=number) for number in range(400)]
    world.run(*sends)
    assert all(sent.value for sent in sends)
    found = [(number, tail_s) for number, tail_s in world.rows("request_id", "tail_s")]
    assert sorted({round(tail_s, 9) for _, tail_s in found}) == pytest.approx(tails_s)
    mean = mean_transmissions - 1
    part = mean % 1
    std_error = 0.4 * math.sqrt(part * (1 - part) / 400)
    assert np.mean([tail_s for _, tail_s in found]) == pytest.approx(0.4 * mean, abs=4 * std_error + 1e-9)
    for number, tail_s in found:
        again = math.floor(mean + 1e-9) + (draw(world, "harq", number, "a", "bs0", "a>bs0", 0, 0) < part - 1e-9)
        assert tail_s == pytest.approx(0.4 * again)
    assert world.rows("retransmissions") == [(pytest.approx(mean),)] * 400  # the mean, not what was drawn


def test_a_tail_delays_what_comes_next_and_leaves_the_air_to_others() -> None:
    """Exactly one retransmission: the last bit is through 0.4 s after it was sent."""
    world = World(band={**HARQ, "mean_transmissions": 2.0})
    sent, behind = world.network.send("a", "b", 10, "features"), None
    world.env.run(until=1.0)  # the air is free again
    behind = world.network.send("a", "bs0", 10, "features")
    assert world.run(sent, behind) == pytest.approx([2.8, 2.4])
    assert sent.value is True
    assert [row for row in world.rows("payload_id", "tail_s", *TIMES) if row[0] == 0] == [
        (0, pytest.approx(0.4), 0.0, 0.0, pytest.approx(1.4)),
        (0, pytest.approx(0.4), pytest.approx(1.4), pytest.approx(1.4), pytest.approx(2.8)),
    ]
    assert world.rows("retransmissions", "airtime_s")[0] == (pytest.approx(1.0), pytest.approx(1.0))


def test_a_hop_in_its_tail_is_broken_off_and_sends_its_last_block_again() -> None:
    world = World(band={**HARQ, "mean_transmissions": 2.0}, retry=RetrySection(backoff_s=0.5))
    sent = world.network.send("a", "bs0", 30, "features")
    uplink, found = world.topology.link("a", "bs0"), []
    world.at(3.25, lambda: found.append(world.network.abort([uplink], "link_down")))
    world.at(3.3, lambda: found.append(world.network.abort([uplink], "link_down")))  # it is over
    assert world.run(sent) == [pytest.approx(3.75 + 1.0 + 0.4)]
    assert found == [1, 0]
    assert sent.value is True
    assert world.rows("attempt", "outcome", "bytes_sent", "tail_s", "airtime_s", *TIMES) == [
        (0, "link_down", 30, pytest.approx(0.25), pytest.approx(3.0), 0.0, 0.0, 3.25),
        (1, "delivered", 10, pytest.approx(0.4), pytest.approx(1.0), 3.25, 3.75, pytest.approx(5.15)),
    ]


# --- routes that change ---------------------------------------------------------------------------------


def two_cells(**settings: Any) -> World:
    """Device a attached to bs0, c to bs1; a wire of 80 bit/s between the two."""
    places = {"bs1": (50.0, 0.0)}
    topology = network(["a-bs0", "a-bs1", "c-bs0", "c-bs1"], [("bs0", "bs1", Wired(80.0))], places=places)
    topology.attach("a", "bs0")
    topology.attach("c", "bs1")
    return World(topology, retry=RetrySection(backoff_s=0.125), **settings)


def hand_over(world: World, device: str, station: str, quiet_until_s: float = 0.0) -> None:
    """What ``Motion`` does."""
    lost = world.topology.attach(device, station)
    world.network.quiet(device, quiet_until_s)
    world.network.abort(lost, "link_down")


def test_after_a_handover_it_goes_on_over_the_new_base_station() -> None:
    world = two_cells()
    sent = world.network.send("a", "bs0", 20, "features")
    world.at(1.0, lambda: hand_over(world, "a", "bs1", 1.5))
    assert world.run(sent) == [1.5 + 1.0 + 1.0]
    assert world.rows("hop", "attempt", "src", "dst", "outcome", *TIMES) == [
        (0, 0, "a", "bs0", "link_down", 0.0, 0.0, 1.0),
        (0, 1, "a", "bs1", "delivered", 1.0, 1.5, 2.5),  # not before the interruption is over
        (1, 0, "bs1", "bs0", "delivered", 2.5, 2.5, 3.5),
    ]
    assert world.rows("bytes_sent") == [(10,)] * 3  # bs0 has had the first half all the time


def test_after_a_handover_the_old_base_station_forwards_and_the_next_hop_is_whole() -> None:
    """To c at bs1: half has got to bs0, the rest goes to bs1, whose downlink carries all."""
    world = two_cells()
    sent = world.network.send("a", "c", 20, "features")
    world.at(1.0, lambda: hand_over(world, "a", "bs1"))
    assert world.run(sent) == [1.125 + 1.0 + 2.0]
    assert world.rows("hop", "attempt", "src", "dst", "bytes_sent") == [
        (0, 0, "a", "bs0", 10),
        (0, 1, "a", "bs1", 10),
        (1, 0, "bs1", "c", 20),
    ]


def test_what_the_receiver_has_is_not_sent_again_over_its_new_base_station() -> None:
    world = two_cells()
    sent = world.network.send("bs0", "a", 20, "output")
    world.at(1.0, lambda: hand_over(world, "a", "bs1"))
    assert world.run(sent) == [1.125 + 1.0 + 1.0]
    assert world.rows("hop", "attempt", "src", "dst", "outcome", "bytes_sent") == [
        (0, 0, "bs0", "a", "link_down", 10),
        (0, 1, "bs0", "bs1", "delivered", 10),
        (1, 0, "bs1", "a", "delivered", 10),
    ]


def test_a_relay_that_goes_out_of_range_keeps_what_it_has() -> None:
    """Half of it is at b, from where there is no way back: over c all is sent; b again would need the rest only."""

    def mesh() -> World:
        return World(network(["a-b", "b-d", "a-c", "c-e", "d-e"]), retry=RetrySection(backoff_s=0.5))

    def drop(world: World, *, for_s: float) -> None:
        world.topology.set_pair("a", "b", False)
        world.network.abort([world.topology.link("a", "b")], "link_down")
        world.at(world.env.now + for_s, lambda: world.topology.set_pair("a", "b", True))

    for for_s, relay, again, nxt in ((9.0, "c", 20, "e"), (0.25, "b", 10, "d")):
        world = mesh()
        sent = world.network.send("a", "d", 20, "features")
        world.at(1.0, lambda world=world, for_s=for_s: drop(world, for_s=for_s))
        world.run(sent)
        assert world.rows("src", "dst", "outcome", "bytes_sent")[:3] == [
            ("a", "b", "link_down", 10),
            ("a", relay, "delivered", again),
            (relay, nxt, "delivered", 20),
        ]


def test_what_is_under_way_to_a_device_follows_it_from_the_next_hop_on() -> None:
    world = two_cells()
    sent = world.network.send("bs1", "a", 20, "output")  # bs1 > bs0 > a
    world.at(1.0, lambda: hand_over(world, "a", "bs1"))
    assert world.run(sent) == [6.0]
    assert world.rows("hop", "attempt", "src", "dst", "outcome") == [
        (0, 0, "bs1", "bs0", "delivered"),
        (1, 0, "bs0", "bs1", "delivered"),
        (2, 0, "bs1", "a", "delivered"),
    ]


def test_what_waits_for_access_goes_over_the_new_base_station_without_a_failure() -> None:
    world = two_cells(access_delay_s=1.0)
    sent = world.network.send("a", "bs1", 20, "features")
    world.at(0.5, lambda: hand_over(world, "a", "bs1", 0.75))
    assert world.run(sent) == [4.0]
    # it was ready all the time; the new base station has an access of its own
    assert world.rows("hop", "attempt", "src", "dst", *TIMES) == [(0, 0, "a", "bs1", 0.0, 2.0, 4.0)]


def test_an_interruption_holds_back_what_waits_for_access_to_a_link_that_stays() -> None:
    """A sidelink survives the handover; its sender is busy with it until 3 s, and its access is over by then."""
    topology = network(["a-bs0", "a-bs1", "c-bs0", "c-bs1", "a-c"], places={"bs1": (50.0, 0.0)})
    topology.attach("a", "bs0")
    world = World(topology, access_delay_s=1.0)
    sent = world.network.send("a", "c", 10, "features")
    world.at(0.5, lambda: hand_over(world, "a", "bs1", 3.0))
    assert world.run(sent) == [4.0]
    assert world.rows("dst", "attempt", *TIMES) == [("c", 0, 0.0, 3.0, 4.0)]


def test_nothing_starts_from_or_to_a_node_that_is_quiet() -> None:
    world = World()
    world.network.quiet("a", 3.0)
    sends = [world.network.send(*ends, 10, "features") for ends in (("a", "bs0"), ("bs0", "a"), ("b", "bs0"))]
    assert world.run(*sends) == [4.0, 4.0, 1.0]
    assert [t_s for (t_s,) in world.rows("t_ready_s")] == [0.0] * 3
    assert world.run(world.network.send("a", "bs0", 10, "features")) == [5.0]


def test_no_route_ever_is_an_error() -> None:
    with pytest.raises(NoRouteError, match="no route from a to c"):
        World().network.send("a", "c", 1, "features")


@pytest.mark.parametrize("stage", [None, "gate"])
def test_without_a_route_for_now_it_waits_as_after_a_failure(stage: str | None) -> None:
    """A sidelink that is out of range comes back after 5 s; pauses of 1, 2, 2, … s are taken before."""

    def world_apart() -> World:
        topology = network(["a-b"])
        topology.set_pair("a", "b", False)
        return World(topology, retry=RetrySection(max_retries=2, backoff_s=1.0, max_backoff_s=2.0))

    world = world_apart()
    world.at(5.0, lambda: world.topology.set_pair("a", "b", True))
    sent = world.network.send("a", "b", 10, "features", stage=stage)
    if stage is None:
        assert world.run(sent) == [3.0]
        assert sent.value is False
        assert world.rows("attempt") == []
    else:
        assert world.run(sent) == [6.0]
        assert sent.value is True
        assert world.rows("attempt", *TIMES) == [(3, 0.0, 5.0, 6.0)]


def test_a_link_that_went_away_under_a_hop_and_left_no_route_is_waited_for() -> None:
    world = World(network(["a-b"]), retry=RetrySection(backoff_s=0.25))

    def apart(up: bool) -> None:
        world.topology.set_pair("a", "b", up)
        if not up:
            world.network.abort(world.topology.links, "link_down")

    sent = world.network.send("a", "b", 20, "features")
    world.at(1.0, lambda: apart(False))
    world.at(1.5, lambda: apart(True))
    # 0.25 s after the failure there is no route, 0.5 s later there is
    assert world.run(sent) == pytest.approx([1.75 + 1.0])
    assert world.rows("outcome", "bytes_sent") == [("link_down", 10), ("delivered", 10)]


# --- whole routes at once -------------------------------------------------------------------------------


def test_whole_routes_are_on_all_their_links_at_once() -> None:
    world = World(WIRED, sharing=MaxMin(), rates={"a>bs0": [160.0]}, access_delay_s=0.25)
    sent = world.network.send("a", "b", 20, "features")
    assert world.run(sent) == [pytest.approx(0.5 + 4.0 + 0.25)]  # 40 bit/s on the wire, its delay, two accesses
    rows = world.rows("payload_id", "hop", "attempt", "src", "dst", *TIMES)
    assert rows == [
        (0, 0, 0, "a", "bs0", 0.0, 0.5, pytest.approx(4.75)),
        (0, 1, 0, "bs0", "bs1", 0.0, 0.5, pytest.approx(4.75)),
        (0, 2, 0, "bs1", "b", 0.0, 0.5, pytest.approx(4.75)),
    ]
    # a radio is on for the part of the time that the slowest link leaves it to do
    assert world.rows("airtime_s") == [(pytest.approx(1.0),), (None,), (pytest.approx(2.0),)]
    assert world.rows("tail_s") == [(0.0,), (0.25,), (0.0,)]
    assert world.joules(training=False) == pytest.approx({("a", "tx"): 1.0, ("bs0", "rx"): 0.5, ("b", "rx"): 1.0})


def test_a_whole_route_fails_and_is_tried_as_one() -> None:
    world = World(sharing=MaxMin(), retry=RetrySection(max_retries=1, backoff_s=0.5))
    sent = world.network.send("a", "b", 20, "features")
    world.at(1.0, lambda: world.network.abort([world.topology.link("bs0", "b")], "link_down"))
    assert world.run(sent) == [pytest.approx(2.5)]
    assert world.rows("hop", "attempt", "outcome", "bytes_sent") == [
        (0, 0, "link_down", 10),
        (1, 0, "link_down", 10),
        (0, 1, "delivered", 10),
        (1, 1, "delivered", 10),
    ]


def test_a_whole_route_goes_on_with_the_rest_over_the_new_base_station() -> None:
    world = two_cells(sharing=MaxMin())
    sent = world.network.send("a", "bs0", 20, "features")
    world.at(1.0, lambda: hand_over(world, "a", "bs1", 1.5))
    assert world.run(sent) == [pytest.approx(2.5)]
    assert world.rows("hop", "attempt", "src", "dst", "outcome", "bytes_sent") == [
        (0, 0, "a", "bs0", "link_down", 10),
        (0, 1, "a", "bs1", "delivered", 10),
        (1, 1, "bs1", "bs0", "delivered", 10),
    ]


def test_a_whole_route_loses_what_any_of_its_links_does() -> None:
    world = World(sharing=MaxMin(), band=LOSSY, retry=RetrySection(max_retries=0))
    sends = [world.network.send("a", "b", 10, "features", request_id=number) for number in range(30)]
    world.run(*sends)
    draws = [draw(world, "loss", number, "a", "b", "a>bs0", 0, 0) for number in range(30)]
    assert [sent.value for sent in sends] == [uniform >= 0.75 for uniform in draws]


# --- all of it at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", [EqualShare(), MaxMin()], ids=lambda policy: policy.kind)
@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_every_payload_ends_once_and_the_books_balance(sharing: Sharing, seed: int) -> None:
    """Devices that hand over, fade out and lose blocks at random, with payloads between all of them."""
    rng = np.random.default_rng(seed)
    places = {"bs1": (50.0, 0.0), "bs2": (0.0, 50.0)}
    wires = [("bs0", "bs1", Wired(200.0, 0.05)), ("bs0", "bs2", Wired(100.0))]
    topology = network([f"{d}-{s}" for d in "abcd" for s in ("bs0", "bs1", "bs2")], wires, places)
    for name in "abcd":
        topology.attach(name, f"bs{rng.integers(3)}")
    rates = {
        f"{link.src.name}>{link.dst.name}": [*rng.choice([0.0, 0.0, 40.0, 80.0, 200.0], 60).tolist(), 80.0]
        for link in topology.links
    }
    band = {**LOSSY, "block_loss": 0.2, "block_s": 0.5, "outage_timeout_s": 0.7, "mean_transmissions": 1.2}
    band["retransmission_delay_s"] = 0.1
    retry = RetrySection(max_retries=3, backoff_s=0.1)
    world = World(topology, rates=rates, band=band, sharing=sharing, access_delay_s=0.01, retry=retry)
    sends: list[Event] = []

    def send() -> None:
        src, dst = rng.choice([*"abcd", "bs0", "bs1", "bs2"], 2, replace=False).tolist()
        stage = "gate" if rng.random() < 0.4 else None
        sends.append(world.network.send(src, dst, int(rng.integers(0, 30)), "x", stage=stage))

    for t_s in np.cumsum(rng.exponential(0.3, 60)).tolist():
        world.at(t_s, send)
    for t_s in np.cumsum(rng.exponential(1.0, 20)).tolist():
        device, station = rng.choice([*"abcd"]).item(), f"bs{rng.integers(3)}"
        world.at(t_s, lambda d=device, s=station, t=t_s: hand_over(world, d, s, t + 0.2))
    world.env.run()

    assert len(sends) == 60
    assert all(sent.triggered for sent in sends)
    table = world.recorder.arrow("transfers").to_pandas()
    assert set(table["outcome"]) == {"delivered", "lost", "outage", "link_down"}
    assert (table["t_ready_s"] <= table["t_start_s"]).all()
    assert (table["t_start_s"] <= table["t_end_s"] - table["tail_s"] + 1e-9).all()
    assert (table["bytes_sent"] <= table["n_bytes"]).all()
    joules = sum(energy_j for training in (True, False) for energy_j in world.joules(training).values())
    assert table[["tx_energy_j", "rx_energy_j"]].sum().sum() == pytest.approx(joules)

    training = table.groupby("payload_id")["stage"].first().notna()
    for number, rows in table.groupby("payload_id"):
        value = sends[number].value
        if training[number]:
            assert value is True
        for (_, attempt), legs in rows.groupby(["t_start_s", "attempt"]):
            assert legs["outcome"].nunique() == 1
            assert attempt <= retry.max_retries or training[number]
        hops = rows[rows["outcome"] == "delivered"].sort_values(["hop"])
        assert hops["hop"].tolist() == list(range(len(hops)))  # each is delivered once
        assert hops["src"].tolist()[1:] == hops["dst"].tolist()[:-1]
        last = rows[rows["t_end_s"] == rows["t_end_s"].max()]
        assert (last["outcome"] == "delivered").any() or value is False
        if value and len(hops):  # nothing is skipped: parts of bytes aside, all has come to it or a station's ear
            near = rows["dst"].isin([hops["dst"].iloc[-1], "bs0", "bs1", "bs2"])
            parts = (rows["outcome"] != "delivered").sum()
            assert rows["bytes_sent"][near].sum() >= rows["n_bytes"].iloc[0] - parts
        for before, after in pairwise(rows.itertuples()):
            if before.outcome == "lost" and (before.hop, before.dst) == (after.hop, after.dst):
                assert after.bytes_sent <= before.bytes_sent  # at most all of what was lost
