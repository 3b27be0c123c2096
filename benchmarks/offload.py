"""How fast is the engine? Offloaded tasks per CPU-second, against a minimal SimPy script.

N devices each produce a Poisson stream of one task a second. A task's input goes over a wireless
uplink to one edge node that computes it first come, first served.

* ours: the engine as a run uses it: TR 38.901 path loss, shadowing, Rayleigh block fading, equal-share
  medium, FIFO compute queue, exact energies, validated tables written to Parquet.
* baseline: the shortest SimPy script of the same tasks: a FIFO uplink and a FIFO edge as SimPy
  resources, one fading draw a task, a DataFrame at the end. No sharing, no energy, no files.

Run ``python benchmarks/offload.py [--profile]``. Figures are CPU seconds of this process; compare the
ratios, not the absolute rates.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simpy

sys.path[0] = str(Path(__file__).parents[1])  # not this folder: its channels.py would hide the package

from nmoe_sim.engine.device_profiles import BaseStation, Phone  # noqa: E402
from nmoe_sim.engine.radio.antennas import Isotropic  # noqa: E402
from nmoe_sim.engine.radio.channel import Model  # noqa: E402
from nmoe_sim.engine.radio.fading import Rayleigh  # noqa: E402
from nmoe_sim.engine.radio.link_adaptation import Shannon  # noqa: E402
from nmoe_sim.engine.radio.path_loss import UrbanMicro  # noqa: E402
from nmoe_sim.engine.radio.shadowing import LogNormal  # noqa: E402
from nmoe_sim.engine.sharing import EqualShare  # noqa: E402
from nmoe_sim.engine.simulation import Simulation  # noqa: E402
from nmoe_sim.engine.topologies import Star  # noqa: E402
from nmoe_sim.inference.arrivals import Poisson  # noqa: E402
from nmoe_sim.results.recorder import Recorder  # noqa: E402
from nmoe_sim.results.rundir import write_table  # noqa: E402
from nmoe_sim.rng import RandomStreams  # noqa: E402
from nmoe_sim.scenario.scenario import RadioSection  # noqa: E402

TASK_BYTES = 500
TASK_FLOP = 1e8
EDGE_FLOP_PER_S = 1e12
BANDWIDTH_HZ = 20e6
COHERENCE_TIME_S = 0.05
NUM_TASKS = 100_000


def ours(num_devices: int, duration_s: float, out_dir: Path) -> int:
    streams = RandomStreams(1)
    base_station = BaseStation(flop_per_s=EDGE_FLOP_PER_S)
    topology = Star(num_devices=num_devices, base_station=base_station).build(streams)
    section = RadioSection(
        bandwidth_hz=BANDWIDTH_HZ,
        base_station_antenna=Isotropic(),
        device_antenna=Isotropic(),
        channel=Model(),
        path_loss=UrbanMicro(),
        shadowing=LogNormal(),
        fading=Rayleigh(coherence_time_s=COHERENCE_TIME_S),
        link_adaptation=Shannon(),
        sharing=EqualShare(),
    )
    phone = Phone()
    profiles = {n.name: base_station if n.kind == "base_station" else phone for n in topology.nodes}
    recorder = Recorder()
    simulation = Simulation.build(topology, profiles, section, streams, recorder)
    env, network = simulation.env, simulation.network
    edge = simulation.devices["bs0"]
    arrivals = Poisson(rate_hz=1.0)

    def task(name: str, request_id: int) -> Generator[simpy.Event, Any, None]:
        yield network.send(name, "bs0", TASK_BYTES, "features", request_id=request_id)
        yield edge.compute(TASK_FLOP, "expert", request_id=request_id)
        if next(num_done) == num_tasks - 1:
            all_done.succeed()

    times = [arrivals.times_s(i, duration_s, streams) for i in range(num_devices)]
    num_tasks, num_done, all_done = sum(map(len, times)), count(), env.event()

    def source() -> Generator[simpy.Event, Any, None]:
        client = np.repeat(np.arange(num_devices), [len(t) for t in times])
        all_times = np.concatenate(times)
        order = np.argsort(all_times, kind="stable")
        names = [node.name for node in topology.devices]
        for k, (t, c) in enumerate(zip(all_times[order].tolist(), client[order].tolist(), strict=True)):
            yield env.timeout(t - env.now)
            env.process(task(names[c], k))

    env.run(env.process(source()))
    env.run(all_done)  # not until nothing is left: a battery drains for ever
    for name in ("transfers", "compute"):
        write_table(recorder.arrow(name), out_dir / f"{name}.parquet")
    assert sum(device.energy.total_j for device in simulation.devices.values()) > 0
    return len(recorder.rows["compute"])


def baseline(num_devices: int, duration_s: float, out_dir: Path) -> int:
    rng = random.Random(1)
    env = simpy.Environment()
    uplink = simpy.Resource(env)
    edge = simpy.Resource(env)
    rows: list[tuple[Any, ...]] = []

    def task(device: int) -> Generator[simpy.Event, Any, None]:
        t0 = env.now
        with uplink.request() as turn:
            yield turn
            snr = 100.0 * rng.expovariate(1.0)
            yield env.timeout(8 * TASK_BYTES / (BANDWIDTH_HZ * np.log2(1.0 + snr)))
        t1 = env.now
        with edge.request() as turn:
            yield turn
            yield env.timeout(TASK_FLOP / EDGE_FLOP_PER_S)
        rows.append((device, t0, t1, env.now))

    def source(device: int) -> Generator[simpy.Event, Any, None]:
        while True:
            yield env.timeout(rng.expovariate(1.0))
            env.process(task(device))

    for device in range(num_devices):
        env.process(source(device))
    env.run(until=duration_s)
    frame = pd.DataFrame(rows, columns=["device", "t_arrival_s", "t_sent_s", "t_done_s"])
    return len(frame)


def tasks_per_cpu_s(run: Callable[[int, float, Path], int], num_devices: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        gc.collect()
        start = time.process_time()
        count = run(num_devices, NUM_TASKS / num_devices, Path(folder))
        return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="print where the engine's time goes at N = 1,000")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if args.profile:
        profiler = cProfile.Profile()
        with tempfile.TemporaryDirectory() as folder:
            profiler.runcall(ours, 1_000, NUM_TASKS / 1_000, Path(folder))
        pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
        return
    ours(10, 10.0, Path(tempfile.mkdtemp()))  # imports and first calls
    medians = {}
    for num_devices in (100, 1_000):
        pairs = [
            (tasks_per_cpu_s(ours, num_devices), tasks_per_cpu_s(baseline, num_devices)) for _ in range(args.repeats)
        ]
        rate, base = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        medians[num_devices] = rate
        print(
            f"N = {num_devices:5d}: ours {rate:9,.0f} tasks/CPU-s, baseline {base:9,.0f}, "
            f"ratio {ratio:.2f} (floor 0.35)"
        )
    print(f"ours at N = 1,000 over N = 100: {medians[1_000] / medians[100]:.2f} (floor 0.80)")


if __name__ == "__main__":
    main()
