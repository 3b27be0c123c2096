"""Clock frequencies against closed forms, and the energy-optimal one against brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from simpy import Environment

from nmoe_sim.engine.device import Device
from nmoe_sim.engine.device_profiles import Custom, Phone
from nmoe_sim.families import build_scenario
from nmoe_sim.results.recorder import Recorder
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.dvfs import Deadline, DvfsSpec, EnergyOptimal, Fixed

RANGE = {"kappa": 1e-27, "min_frequency_hz": 0.2e9, "max_frequency_hz": 2e9}
BUDGET = {"memory_bytes": 1, "idle_w": 1.0, "compute_w": 99.0, "rx_w": 0.5, "tx_circuit_w": 0.2}
FLOP_PER_S = 8e9  # at 2 GHz, so 4 FLOP a cycle


def device(dvfs: Any, **settings: Any) -> Device:
    profile = Custom(flop_per_s=FLOP_PER_S, amplifier_efficiency=0.25, dvfs=dvfs, **BUDGET)
    return Device(Environment(), "dev0", profile, tx_w=2.0, recorder=Recorder(), **settings)


def jobs(device: Device) -> list[dict[str, Any]]:
    return [dict(zip(TABLES["compute"].column_names, row, strict=True)) for row in device._rows]


@pytest.mark.parametrize("may_fail", [False, True])
def test_a_fixed_frequency_sets_time_and_energy(may_fail: bool) -> None:
    """8e9 FLOP are 2e9 cycles: 4 s at 0.5 GHz, 1e-27 · 2e9 · (0.5e9)² = 0.5 J, and 0.3 W for 4 s."""
    slow = device(Fixed(**RANGE, static_w=0.3, frequency_hz=0.5e9), may_fail=may_fail)
    done = slow.compute(8e9, "local_train", stage="gate")
    slow.env.run()
    [job] = jobs(slow)
    assert done.value is True
    assert job["t_end_s"] == pytest.approx(4.0)
    assert job["frequency_hz"] == 0.5e9
    assert job["energy_j"] == pytest.approx(0.5 + 0.3 * 4.0)
    assert slow.energy.total_j == job["energy_j"]
    assert (slow.flop_per_s, slow.compute_w) == pytest.approx((2e9, 0.125 + 0.3))


def test_a_device_without_dvfs_is_as_its_profile_says() -> None:
    plain = Device(Environment(), "dev0", Phone(), tx_w=2.0, recorder=Recorder())
    assert (plain.flop_per_s, plain.compute_w, plain.frequency_hz) == (50e9, 4.0, None)
    plain.compute(50e9, "expert")
    assert jobs(plain)[0]["frequency_hz"] is None
    assert jobs(plain)[0]["energy_j"] == 4.0


@pytest.mark.parametrize("static_w", [0.0, 1e-3, 0.05, 0.4, 3.0, 100.0])
@pytest.mark.parametrize("kappa", [1e-28, 1e-26, 1e-25])
def test_no_frequency_draws_less_than_the_optimal_one(static_w: float, kappa: float) -> None:
    law = EnergyOptimal(**{**RANGE, "kappa": kappa, "static_w": static_w})
    grid_hz = np.linspace(law.min_frequency_hz, law.max_frequency_hz, 200_001)
    energies_j = kappa * 1e9 * grid_hz**2 + static_w * 1e9 / grid_hz  # of 1e9 cycles, written out
    best_hz = law.choose_hz(1e9, math.inf)
    assert law.energy_j(1e9, best_hz) <= energies_j.min() * (1 + 1e-12)
    assert best_hz == pytest.approx(grid_hz[np.argmin(energies_j)], abs=2 * (grid_hz[1] - grid_hz[0]))
    assert law.choose_hz(5.0, 1e-3) == best_hz  # the same for all jobs


@pytest.mark.parametrize("may_fail", [False, True])
def test_a_job_ends_at_its_deadline_if_it_can(may_fail: bool) -> None:
    paced = device(Deadline(**RANGE, static_w=0.1), may_fail=may_fail)
    assert (paced.flop_per_s, paced.frequency_hz) == (FLOP_PER_S, 2e9)
    paced.compute(4e9, "a", deadline_s=2.0)  # 1e9 cycles in 2 s: 0.5 GHz
    paced.compute(4e9, "b", deadline_s=3.0)  # 1 s is left: 1 GHz
    paced.compute(4e9, "c", deadline_s=3.1)  # 0.1 s is left, at 2 GHz it takes 0.5 s
    paced.compute(4e9, "d")  # no deadline
    paced.compute(4e9, "e", deadline_s=1e3)  # slower than the slowest: 5 s at 0.2 GHz
    paced.compute(4e9, "f", deadline_s=1.0)  # past
    paced.env.run()
    rows = jobs(paced)
    assert [row["frequency_hz"] for row in rows] == pytest.approx([0.5e9, 1e9, 2e9, 2e9, 0.2e9, 2e9])
    assert [row["t_end_s"] for row in rows] == pytest.approx([2.0, 3.0, 3.5, 4.0, 9.0, 9.5])
    energies_j = [1e-27 * 1e9 * f**2 + 0.1 * 1e9 / f for f in (0.5e9, 1e9, 2e9, 2e9, 0.2e9, 2e9)]
    assert [row["energy_j"] for row in rows] == pytest.approx(energies_j)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "fixed", "frequency_hz": 3e9}, "outside 3e"),
        ({"kind": "deadline", "min_frequency_hz": 3e9}, "swap them"),
        ({"kind": "energy_optimal", "kappa": 0.0}, "kappa"),
        ({"kind": "turbo"}, "unknown kind 'turbo'"),
    ],
)
def test_impossible_frequencies_are_refused(settings: dict[str, Any], message: str) -> None:
    from nmoe_sim.errors import InputError

    with pytest.raises(InputError, match=message):
        build_scenario({"name": "x", "devices": [{"profile": "phone", "dvfs": settings}]})


def test_the_default_is_the_power_of_the_phone() -> None:
    assert issubclass(Fixed, DvfsSpec)
    assert Fixed(frequency_hz=2.4e9).power_w(2.4e9) == pytest.approx(Phone().compute_w, rel=0.01)
