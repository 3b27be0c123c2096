"""How fast is the radio? Laws on arrays and media on the clock, each against the plainest way to the same numbers.

* path loss: TR 38.901 UMi of 1,000 links in one call, against the same formula in a Python loop over links.
* gains: path loss, line of sight, correlated shadowing and Rayleigh fading of 1,000 x 1,000 links in one block,
  against one call a pair (of 200 pairs, scaled); peak memory by ``tracemalloc``, in a run of its own.
* SINR: 1,000 receivers under 100 transmitters, against a Python loop over both.
* max-min: rates of 1,000 flows on 2 of 32 links each, against progressive filling with dictionaries and sets.
* media: planning events a second of ``FluidMedia`` with 1, 10 and 50 transfers on air at all times in three cells
  that interfere, under NR link adaptation, against bare SimPy timeouts.
* scenarios: simulated seconds a CPU second of shipped scenarios, values of training and answers included, start-up
  and preparation not.

Run ``python benchmarks/channels.py [--repeats N] [--only WORD]``. Figures are medians, after a warm-up, of CPU time of
this process on one thread; wall time is beside it. A ratio is the baseline's CPU time over ours.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np
import simpy
import yaml

sys.path[0] = str(Path(__file__).parents[1])  # not this folder: its channels.py would hide the package

import channels  # noqa: E402
from channels.interference import sinr  # noqa: E402
from nmoe_sim import build_scenario, load_scenario  # noqa: E402
from nmoe_sim.checks import check  # noqa: E402
from nmoe_sim.engine.radio.fading import Rayleigh  # noqa: E402
from nmoe_sim.engine.radio.path_loss import UrbanMicro  # noqa: E402
from nmoe_sim.engine.radio.shadowing import LogNormal  # noqa: E402
from nmoe_sim.engine.sharing import max_min_rates  # noqa: E402
from nmoe_sim.engine.simulation import Simulation  # noqa: E402
from nmoe_sim.rng import RandomStreams  # noqa: E402
from nmoe_sim.shipped import resolve  # noqa: E402

CARRIER_HZ = 3.5e9
NUM_LINKS = 1_000
NUM_NODES = 1_000
NUM_PAIRS_ALONE = 200
NUM_TRANSMITTERS, NUM_RECEIVERS = 100, 1_000
NUM_FLOWS, NUM_RESOURCES = 1_000, 32
NUM_PLANS, PAYLOAD_BYTES = 1_500, 20_000
SCENARIOS = ("multi_cell", "handover", "mesh", "wifi", "mmwave")


def timed(work: Callable[[], Any], repeats: int, calls: int = 1) -> tuple[float, float]:
    """Return median CPU and wall seconds of a call, after a warm-up."""
    work()
    cpu_s, wall_s = [], []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            work()
        cpu_s.append((time.process_time() - cpu) / calls)
        wall_s.append((time.perf_counter() - wall) / calls)
    return statistics.median(cpu_s), statistics.median(wall_s)


def show(what: str, target: str, ours: tuple[float, float], baseline: str, baseline_s: float) -> None:
    """Print a row of the table, times in ms."""
    against = f"{baseline_s / ours[0]:9.3g} x {baseline}"
    print(f"{what:56} {target:>9} {1e3 * ours[0]:10.3f} {1e3 * ours[1]:10.3f}  {against}")


# --- laws on arrays ------------------------------------------------------------------------------------


def path_loss(repeats: int) -> None:
    rng = np.random.default_rng(1)
    distance_m, los = rng.uniform(20.0, 500.0, NUM_LINKS), rng.random(NUM_LINKS) < 0.5
    geometry, law = channels.LinkGeometry.between(distance_m, 10.0, 1.5), UrbanMicro()

    def loop() -> list[float]:
        losses_db, f_ghz = [], CARRIER_HZ / 1e9
        for d_m, sees in zip(distance_m.tolist(), los.tolist(), strict=True):
            break_m = 4.0 * 9.0 * 0.5 * CARRIER_HZ / 3e8
            d3_m = math.hypot(d_m, 8.5)
            loss_db = 32.4 + 21.0 * math.log10(d3_m) + 20.0 * math.log10(f_ghz)
            if d_m > break_m:
                loss_db = 32.4 + 40.0 * math.log10(d3_m) + 20.0 * math.log10(f_ghz)
                loss_db -= 9.5 * math.log10(break_m**2 + 8.5**2)
            if not sees:
                loss_db = max(loss_db, 22.4 + 35.3 * math.log10(d3_m) + 21.3 * math.log10(f_ghz))
            losses_db.append(loss_db)
        return losses_db

    def ours() -> Any:
        return law.path_loss_db(geometry, carrier_hz=CARRIER_HZ, los=los)

    np.testing.assert_allclose(ours(), loop(), rtol=1e-9)
    baseline_s, _ = timed(loop, repeats, 20)
    show("path loss, 1,000 links", "<= 0.1", timed(ours, repeats, 200), "a Python loop over links", baseline_s)


def gains(repeats: int) -> None:
    xy_m = np.random.default_rng(1).uniform(0.0, 500.0, (NUM_NODES, 2))
    sites = channels.Sites.static(xy_m, np.linspace(1.5, 10.0, NUM_NODES))

    def channel() -> channels.Channel:
        return channels.Channel(
            sites,
            carrier_hz=CARRIER_HZ,
            path_loss=UrbanMicro(),
            shadowing=LogNormal(),
            fading=Rayleigh(),
            uniform=RandomStreams(1).uniform,
        )

    every, field = np.arange(NUM_NODES), channel()
    src, dst = np.random.default_rng(2).integers(0, NUM_NODES, (2, NUM_PAIRS_ALONE))

    def pair_by_pair() -> None:
        alone = channel()
        for a, b in zip(src.tolist(), dst.tolist(), strict=True):
            alone.power_gain([a], [b], [7])

    def ours() -> Any:
        return field.power_gain_matrix(every, every, 7)

    together = ours()[src, dst, 0]
    np.testing.assert_allclose(together, field.power_gain(src, dst, [7])[0, :, 0])
    baseline_s, _ = timed(pair_by_pair, 2)
    taken = timed(ours, repeats)
    tracemalloc.start()
    ours()
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    alone_s = baseline_s / NUM_PAIRS_ALONE * NUM_NODES**2
    show("gains, 1,000 x 1,000 links in a block", "<= 500", taken, "a call a pair", alone_s)
    print(f"{'  peak memory':56} {'<= 100 MB':>9} {peak_mb:7.0f} MB")


def interference(repeats: int) -> None:
    rng = np.random.default_rng(1)
    gain, power_w = rng.exponential(1e-9, (NUM_TRANSMITTERS, NUM_RECEIVERS)), np.full(NUM_TRANSMITTERS, 0.2)
    serving, activity = rng.integers(0, NUM_TRANSMITTERS, NUM_RECEIVERS), rng.random(NUM_TRANSMITTERS)
    signal_w = power_w[serving] * gain[serving, np.arange(NUM_RECEIVERS)]

    def loop() -> list[float]:
        rows, mean_w = gain.tolist(), (power_w * activity).tolist()
        ratios = []
        for r, (own, signal) in enumerate(zip(serving.tolist(), signal_w.tolist(), strict=True)):
            heard_w = sum(mean_w[t] * rows[t][r] for t in range(NUM_TRANSMITTERS) if t != own)
            ratios.append(signal / (1e-12 + heard_w))
        return ratios

    def ours() -> Any:
        return sinr(signal_w, gain, power_w, noise_w=1e-12, serving=serving, activity=activity)

    np.testing.assert_allclose(ours(), loop(), rtol=1e-9)
    baseline_s, _ = timed(loop, 3)
    show("SINR, 1,000 receivers, 100 transmitters", "<= 5", timed(ours, repeats, 20), "a Python loop", baseline_s)


def max_min(repeats: int) -> None:
    rng = random.Random(1)
    capacities = {f"link{i}": rng.uniform(1e6, 1e8) for i in range(NUM_RESOURCES)}
    routes = [rng.sample(list(capacities), 2) for _ in range(NUM_FLOWS)]

    def plain() -> list[float]:
        rates, room = [0.0] * len(routes), dict(capacities)
        users = {name: {i for i, route in enumerate(routes) if name in route} for name in capacities}
        while any(users.values()):
            full = min((name for name in users if users[name]), key=lambda name: room[name] / len(users[name]))
            level = room[full] / len(users[full])
            for flow in list(users[full]):
                rates[flow] = level
                for name in routes[flow]:
                    room[name] -= level
                    users[name].discard(flow)
        return rates

    def ours() -> Any:
        return max_min_rates(capacities, routes)

    np.testing.assert_allclose(ours(), plain(), rtol=1e-6)
    baseline_s, _ = timed(plain, 3)
    show("max-min rates, 1,000 flows, 32 links", "<= 250", timed(ours, repeats, 5), "dictionaries and sets", baseline_s)


# --- media on the clock --------------------------------------------------------------------------------


def media(repeats: int) -> None:
    def timeouts() -> None:
        env = simpy.Environment()

        def tick() -> Any:
            for _ in range(20_000):
                yield env.timeout(1.0)

        env.process(tick())
        env.run()

    bare_s = timed(timeouts, 3)[0] / 20_000
    for num_active in (1, 10, 50):
        cpu_s, wall_s = zip(*(plan_s(num_active) for _ in range(repeats)), strict=True)
        ours = statistics.median(cpu_s), statistics.median(wall_s)
        show(
            f"a planning event, {num_active} on air: {1.0 / ours[0]:,.0f} a CPU second",
            "",
            ours,
            "a SimPy event",
            bare_s,
        )


def plan_s(num_active: int) -> tuple[float, float]:
    """Return CPU and wall seconds of a planning event, the network around it included."""
    mapping = yaml.safe_load(resolve("multi_cell").read_text())
    mapping["data"]["partition"] = {"kind": "iid"}
    mapping["topology"]["num_devices"] = max(2, num_active)
    mapping["radio"] |= {
        "carrier_hz": CARRIER_HZ,
        "bandwidth_hz": 20e6,
        "sharing": {"kind": "equal_share"},
        "access_delay_s": 0.0,
    }
    scenario = build_scenario(mapping)
    layout = check(scenario)
    simulation = Simulation.build(layout.topology, layout.profiles, scenario.radio, RandomStreams(1))
    env, network, topology = simulation.env, simulation.network, simulation.topology
    num_plans = 0

    def counted(state: Callable[..., Any]) -> Callable[..., Any]:
        def plan(*arguments: Any) -> Any:
            nonlocal num_plans
            num_plans += 1
            return state(*arguments)

        return plan

    for group in simulation.groups:
        group.air.state = counted(group.air.state)  # type: ignore[method-assign]

    def client(name: str) -> Any:
        station = topology.serving(name)
        assert station is not None
        while True:
            yield network.send(name, station.name, PAYLOAD_BYTES, "features", request_id=0)

    for node in topology.devices[:num_active]:
        env.process(client(node.name))
    while num_plans < NUM_PLANS // 5:  # fields, tables and windows are there
        env.step()
    before, cpu, wall = num_plans, time.process_time(), time.perf_counter()
    while num_plans < before + NUM_PLANS:
        env.step()
    done = num_plans - before
    return (time.process_time() - cpu) / done, (time.perf_counter() - wall) / done


# --- whole scenarios -----------------------------------------------------------------------------------


def scenarios(names: Sequence[str]) -> None:
    from nmoe_sim.lifecycle import simulate
    from nmoe_sim.preparation import prepare

    heads = ("simulated s", "CPU s", "wall s", "simulated s a CPU s", "hops a CPU s")
    print(f"\n{'scenario':16}" + "".join(f"{head:>21}" for head in heads))
    for name in names:
        scenario = load_scenario(resolve(name))
        layout = check(scenario)
        learning = prepare(scenario, layout, workers=1)
        cpu, wall = time.process_time(), time.perf_counter()
        simulate(learning, layout)
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
        t_s, num_hops = learning.simulation.env.now, learning.simulation.recorder.num_rows("transfers")
        figures = (t_s, cpu_s, wall_s, t_s / cpu_s, num_hops / cpu_s)
        print(f"{name:16}" + "".join(f"{figure:21,.1f}" for figure in figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="path_loss, gains, interference, max_min, media or scenarios")
    options = parser.parse_args()
    print(f"{'':56} {'target ms':>9} {'CPU ms':>10} {'wall ms':>10}  baseline's CPU over ours")
    for part in (path_loss, gains, interference, max_min, media):
        if part.__name__.startswith(options.only):
            part(options.repeats)
    if "scenarios".startswith(options.only):
        scenarios(SCENARIOS)


if __name__ == "__main__":
    main()
