"""When a battery is empty, against closed forms: 1 Mbit/s on every link, transmitters of 1 W (10 W at a station)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_radio import PROFILE, Given, Proportional, network, radio

from channels.units import thermal_noise_w
from nmoe_sim.engine.battery import STEP_S
from nmoe_sim.engine.faults import FaultsSpec, NoFaults
from nmoe_sim.engine.sharing import CsmaCa, Fdma, Fifo, MaxMin, ProportionalFair, RoundRobin
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.rng import RandomStreams

NOISE_W = float(thermal_noise_w(1e6, 0.0))
SECOND = 125_000  # bytes that take a second alone


class Once(FaultsSpec):
    """Device a is away once."""

    kind: ClassVar[str] = "once"
    down_s: float
    up_s: float

    def outages(self, names: Sequence[str], streams: RandomStreams) -> Sequence[Iterator[tuple[float, float]]]:
        return [iter([(self.down_s, self.up_s)] if name == "a" else []) for name in names]


def world(charge_j: float, pairs: Sequence[str] = ("a-bs0", "b-bs0"), *, faults: Any = None, **settings: Any) -> Any:
    """Device a has a battery, nobody else; idle 0.1 W, computing 2 W, receiving 0.5 W, sending 1 W."""
    profile = PROFILE.model_copy(update={"idle_w": 0.1, "compute_w": 2.0})
    mine = profile.model_copy(update={"battery_j": 4 * charge_j, "initial_charge": 0.25})
    topology = network(pairs)
    profiles = {node.name: mine if node.name == "a" else profile for node in topology.nodes}
    gains = Given(lambda a, b, t: NOISE_W / (10.0 if a.startswith("bs") else 1.0))
    section = radio(**{"channel": gains, **settings})
    return Simulation.build(topology, profiles, section, RandomStreams(0), faults=faults or NoFaults())


def death_s(run: Simulation, until_s: float = 1e7) -> float:
    """Return when a's battery is empty; books are right then."""
    run.env.run(until=until_s)
    run.availability.close()
    outages = run.recorder.arrow("outages").to_pandas()
    [row] = outages[outages["reason"] == "battery"].to_dict("records")
    assert row["device"] == "a"
    assert np.isnan(row["t_up_s"])
    assert run.why_down("a") == "battery"
    return float(row["t_down_s"])


def left_j(run: Simulation, charge_j: float) -> float:
    """Return what is left at the end by the books."""
    device = run.devices["a"]
    return charge_j - device.energy.total_j - 0.1 * run.availability.up_s("a", 0.0, run.env.now)


def test_an_idle_device_lives_as_long_as_its_idle_power_lets_it() -> None:
    run = world(500.0)
    assert death_s(run) == pytest.approx(5000.0, rel=1e-12)
    assert left_j(run, 500.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("charge_j", [3.0, 50.0])
def test_computing_drains_it_and_the_job_is_broken_off(charge_j: float) -> None:
    """Idle for 4 s, then 2.1 W."""
    run = world(charge_j)
    done = []
    run.env.timeout(4.0).callbacks.append(lambda _: done.append(run.devices["a"].compute(1000.0, "long")))
    assert death_s(run) == pytest.approx(4.0 + (charge_j - 0.4) / 2.1, rel=1e-12)
    assert done[0].value is False
    [job] = run.recorder.arrow("compute").to_pandas().to_dict("records")
    assert job["outcome"] == "aborted"
    assert left_j(run, charge_j) == pytest.approx(0.0, abs=1e-9)


def test_jobs_one_after_the_other_drain_it_while_they_run() -> None:
    """Each second a job of a quarter of one: 0.6 J a second."""
    run = world(3.0)

    def work() -> Any:
        while True:
            run.devices["a"].compute(0.25, "job")
            yield run.env.timeout(1.0)

    run.env.process(work())
    assert death_s(run, 20.0) == pytest.approx(5.0, abs=1e-9)


@pytest.mark.parametrize("charge_j", [1.5, 11.0])
def test_sending_alone_drains_it_at_full_power_and_breaks_off(charge_j: float) -> None:
    run = world(charge_j)
    sent = run.network.send("a", "bs0", 100 * SECOND, "up", stage="gate")
    assert death_s(run) == pytest.approx(charge_j / 1.1, abs=STEP_S)
    assert sent.value is False
    assert 0.0 >= left_j(run, charge_j) >= -1.1 * STEP_S - 1e-9


def test_receiving_drains_it() -> None:
    run = world(3.0)
    run.network.send("bs0", "a", 100 * SECOND, "down", stage="gate")
    assert death_s(run) == pytest.approx(3.0 / 0.6, abs=STEP_S)


@pytest.mark.parametrize("sharing", [None, RoundRobin(), ProportionalFair(), Fdma(), Fifo(), MaxMin()])
def test_a_radio_draws_power_for_its_share_of_the_medium_only(sharing: Any) -> None:
    """Two share: half of the time in turns, all of it on parts of the band; b is first in the queue for 2 s."""
    settings = {} if sharing is None else {"sharing": sharing}
    run = world(3.0, **settings)
    for name in ("b", "a"):
        run.network.send(name, "bs0", (2 if isinstance(sharing, Fifo) else 50) * SECOND, "up", stage="gate")
    if isinstance(sharing, Fifo):  # 2 s of waiting, 2 s of sending, then idle
        expected_s = 4.0 + (3.0 - 0.4 - 2.0) / 0.1
    else:
        expected_s = 3.0 / (1.1 if isinstance(sharing, Fdma) else 0.6)
    assert death_s(run) == pytest.approx(expected_s, abs=STEP_S)
    assert abs(left_j(run, 3.0)) <= 1.1 * STEP_S


def test_the_tail_of_a_payload_is_no_airtime_but_what_was_on_air_counts() -> None:
    """2 s on air, then 3 s until HARQ is through: 2.2 J, 0.3 J; then idle."""
    law = Proportional(block_loss=0.0, block_bits=8000.0, mean_transmissions=2.0, retransmission_delay_s=3.0)
    run = world(2.6, link_adaptation=law)
    run.network.send("a", "bs0", SECOND, "up", stage="gate")
    run.env.run(until=4.0)
    on_air_s = run.network.on_air_j("a")
    run.env.run(until=8.0)
    [hop] = run.recorder.arrow("transfers").to_pandas().to_dict("records")
    assert on_air_s == hop["tx_energy_j"] > 0
    assert death_s(run) == pytest.approx((2.6 - hop["tx_energy_j"]) / 0.1, rel=1e-9)


def test_a_device_that_is_away_draws_nothing() -> None:
    run = world(1.0, faults=Once(down_s=3.0, up_s=103.0))
    assert death_s(run) == pytest.approx(110.0, rel=1e-12)


def test_the_dead_stay_down() -> None:
    run = world(1.0, faults=Once(down_s=12.0, up_s=13.0))
    assert death_s(run) == pytest.approx(10.0)
    assert not run.is_up("a")
    assert run.recorder.num_rows("outages") == 1


def test_few_looks_are_enough() -> None:
    """At a twentieth of the power that could be drawn, until 1e-12 of the charge is left."""
    run = world(1e4)
    looks = []
    battery = run.availability._batteries["a"]
    look = battery.look
    battery.look = lambda: (looks.append(run.env.now), look())[1]  # type: ignore[method-assign]
    assert death_s(run) == pytest.approx(1e5)
    assert len(looks) < 500


@pytest.mark.parametrize("sharing", [None, Fifo(), Fdma(), CsmaCa()])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_goes_on_no_battery_is_overdrawn_by_more_than_a_step(seed: int, sharing: Any) -> None:
    settings: dict[str, Any] = {"duplex": "half"} if isinstance(sharing, CsmaCa) else {}
    settings |= {} if sharing is None else {"sharing": sharing}
    charge_j, draws = 4.0, np.random.default_rng(seed)
    run = world(charge_j, ("a-bs0", "b-bs0", "c-bs0"), **settings)

    def load(name: str) -> Any:
        while True:
            yield run.env.timeout(float(draws.exponential(0.5)))
            size = int(draws.exponential(0.3) * SECOND) + 1
            run.network.send(*draws.permutation([name, "bs0"]).tolist(), size, "x", stage="gate")
            run.devices[name].compute(float(draws.exponential(0.1)), "job", stage="gate")

    for name in "abc":
        run.env.process(load(name))
    assert 1.0 < death_s(run, 60.0) < 40.0
    most_w = 0.1 + 2.0 + 1.0 + 0.5
    assert -most_w * STEP_S - 1e-9 <= left_j(run, charge_j) <= 1e-9
    assert run.network.on_air_j("a") is None
