from __future__ import annotations

from itertools import pairwise

import pytest
from simpy import Environment

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.device_profiles import Custom
from nmoe_sim.engine.energy import COMPONENTS, PHASES, EnergyLedger
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES

PROFILE = Custom(
    flop_per_s=100.0,
    memory_bytes=1,
    idle_w=1.0,
    compute_w=3.0,
    rx_w=0.5,
    tx_circuit_w=0.2,
    amplifier_efficiency=0.25,
)


@pytest.fixture
def env() -> Environment:
    return Environment()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def device(env: Environment, recorder: Recorder) -> Device:
    return Device(env, "dev0", PROFILE, tx_w=2.0, recorder=recorder)


def rows(recorder: Recorder, *columns: str) -> list[tuple]:
    names = TABLES["compute"].column_names
    return [tuple(row[names.index(column)] for column in columns) for row in recorder.rows["compute"]]


def test_jobs_are_served_in_order_of_submission(env, device, recorder) -> None:
    done: list[tuple[str, float]] = []

    def submit():
        for delay_s, flop, kind in ((1.0, 200.0, "a"), (0.5, 100.0, "b"), (0.0, 50.0, "c"), (4.0, 100.0, "d")):
            yield env.timeout(delay_s)
            device.compute(flop, kind).callbacks.append(lambda _, kind=kind: done.append((kind, env.now)))

    env.process(submit())
    env.run()
    assert done == [("a", 3.0), ("b", 4.0), ("c", 4.5), ("d", 6.5)]
    assert rows(recorder, "job_id", "kind", "t_ready_s", "t_start_s", "t_end_s") == [
        (0, "a", 1.0, 1.0, 3.0),
        (1, "b", 1.5, 3.0, 4.0),
        (2, "c", 1.5, 4.0, 4.5),
        (3, "d", 5.5, 5.5, 6.5),
    ]


def test_energy_and_busy_time_by_phase(env, device, recorder) -> None:
    device.compute(200.0, "local_train", stage="gate", round=2)
    device.compute(100.0, "expert", request_id=7)
    env.run()
    assert device.busy_s == {True: 2.0, False: 1.0}
    assert device.energy.joules["compute", True] == 6.0
    assert device.energy.joules["compute", False] == 3.0
    assert device.energy.total_j == 9.0
    assert rows(recorder, "request_id", "stage", "round", "device", "flop", "energy_j", "outcome") == [
        (None, "gate", 2, "dev0", 200.0, 6.0, "completed"),
        (7, None, None, "dev0", 100.0, 3.0, "completed"),
    ]
    recorder.arrow("compute")  # fits its declaration


def test_backlog_is_the_work_that_waits(env, device) -> None:
    assert device.backlog_s() == 0.0
    device.compute(200.0, "a")
    device.compute(100.0, "b")
    assert device.backlog_s() == 3.0
    env.run(until=2.5)
    assert device.backlog_s() == 0.5
    env.run(until=10.0)
    assert device.backlog_s() == 0.0


def test_a_job_without_flop_takes_no_time_but_its_turn(env, device, recorder) -> None:
    device.compute(100.0, "a")
    device.compute(0.0, "b")
    env.run()
    assert env.now == 1.0
    assert rows(recorder, "t_start_s", "t_end_s", "energy_j")[1] == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("now_s", [0.1, 1.0, 3.7e4, 1e9])
def test_ends_are_the_times_events_fire_whatever_the_rounding(env, device, recorder, now_s: float) -> None:
    fired: list[float] = []

    def submit():
        yield env.timeout(now_s)
        for k in range(100):
            device.compute(1e-7 * (k % 7) + 1e-14, "a").callbacks.append(lambda _: fired.append(env.now))
            yield env.timeout(1e-10)

    env.process(submit())
    env.run()
    times_s = rows(recorder, "t_ready_s", "t_start_s", "t_end_s")
    assert [end_s for *_, end_s in times_s] == fired
    assert all(ready_s <= start_s <= end_s for ready_s, start_s, end_s in times_s)
    assert all(before[2] <= after[1] for before, after in pairwise(times_s))
    assert all(after[1] == max(after[0], before[2]) for before, after in pairwise(times_s))


def test_ledger_lists_every_account_in_declared_order() -> None:
    ledger = EnergyLedger()
    ledger.add("tx", True, 2.0)
    ledger.add("tx", True, 0.5)
    ledger.add("idle", False, 1.0)
    accounts = [(component, phase) for component, phase, _ in ledger.rows()]
    assert accounts == [(component, phase) for component in COMPONENTS for phase in PHASES]
    assert {row[:2]: row[2] for row in ledger.rows() if row[2]} == {("tx", "training"): 2.5, ("idle", "inference"): 1.0}
    assert ledger.total_j == 3.5
