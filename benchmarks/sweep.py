"""What does a sweep cost beside its runs, what do workers and stored values save, and does killing change a byte?

* workers: 64 runs of different seeds on one and on two worker processes, and as a plain loop in one process
  with the same single thread, which prepares, simulates and writes the same tables.
* stage cache: 12 routing variants of one trained model, on one worker.
* kills (``--kills N``): the same 64 runs on two workers; at N random moments the sweep's process or one of its
  workers is killed with SIGKILL, and the command run again where it needs to be.

Run ``python benchmarks/sweep.py [--runs N] [--kills N]`` on a machine that is otherwise idle. Every figure is of a
fresh process, its imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BASE = """\
extends: quickstart
training: {extractor: {rounds: 3}, experts: {optimizer: {epochs: 5}}, gate: {rounds: 3}}
inference: {duration_s: 20}
"""
SEEDS = "name: seeds\nbase:\n  {base}\nseeds: {runs}\n"
ROUTING = """\
name: routing
base: quickstart
zip:
  inference.routing.kind:
    [top_k, local_only, random, all, top_k, local_only, random, all, top_k, local_only, random, all]
  inference.deadline_s: [0.01, 0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 0.02, 0.04, 0.04, 0.04, 0.04]
"""


def environment() -> dict[str, str]:
    return {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}


def timed(*arguments: str) -> tuple[float, float, str]:
    """Run Python; returns wall seconds, CPU seconds of it and its children, and its output."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, *arguments], env=environment(), capture_output=True, text=True, check=False)
    wall_s, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def sweep(file: Path, out: Path, workers: int) -> tuple[float, float, str]:
    return timed("-m", "nmoe_sim", "sweep", str(file), "--out", str(out), "--workers", str(workers))


def plain_loop(file: Path, out: Path) -> None:
    sys.path[0] = str(Path(__file__).parents[1])  # not this folder: its channels.py would hide the package
    import torch

    from nmoe_sim.checks import check
    from nmoe_sim.lifecycle import simulate
    from nmoe_sim.preparation import prepare
    from nmoe_sim.results.rundir import write_table
    from nmoe_sim.results.tables import TABLES
    from nmoe_sim.sweeps import load_sweep, make_plan

    torch.set_num_threads(1)
    for run in make_plan(load_sweep(file)).runs:
        layout = check(run.scenario)
        learning = prepare(run.scenario, layout, workers=1)
        simulate(learning, layout)
        for name in TABLES:
            write_table(learning.simulation.recorder.arrow(name), out / run.run_id / f"{name}.parquet")


def killed(file: Path, out: Path, num_kills: int) -> int:
    """Run a sweep to its end through ``num_kills`` kills; returns how many commands it took."""
    rng, kills, commands = random.Random(1), 0, 0
    while True:
        commands += 1
        command = [sys.executable, "-m", "nmoe_sim", "sweep", str(file), "--out", str(out), "--workers", "2", "--quiet"]
        with subprocess.Popen(command, env=environment()) as process:
            while kills < num_kills and process.poll() is None:
                time.sleep(rng.uniform(1.0, 8.0))
                victims = [process.pid, *_children(process.pid)] if rng.random() < 0.5 else _children(process.pid)
                if process.poll() is None and victims:
                    victim = rng.choice(victims)
                    os.kill(victim, signal.SIGKILL)
                    kills += 1
                    if victim == process.pid:
                        break
            if process.wait() == 0:
                return commands


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--plain", nargs=2, metavar=("SWEEP", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain_loop(*map(Path, options.plain))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = folder / "seeds.yaml"
        seeds.write_text(SEEDS.format(base=BASE.strip().replace("\n", "\n  "), runs=options.runs))
        plain_s, plain_cpu_s, _ = timed(__file__, "--plain", str(seeds), str(folder / "plain"))
        one_s, one_cpu_s, _ = sweep(seeds, folder / "one", 1)
        two_s, two_cpu_s, _ = sweep(seeds, folder / "two", 2)
        same = (folder / "one/runs.parquet").read_bytes() == (folder / "two/runs.parquet").read_bytes()
        print(f"{options.runs} runs    wall s    CPU s")
        print(f"plain loop {plain_s:9.1f} {plain_cpu_s:8.1f}")
        print(f"1 worker   {one_s:9.1f} {one_cpu_s:8.1f}   overhead {one_s / plain_s - 1:+.1%} wall (at most +10 %)")
        print(f"2 workers  {two_s:9.1f} {two_cpu_s:8.1f}   {two_s / one_s:.2f} of one worker's wall (at most 0.60)")
        print(f"runs.parquet of 1 and 2 workers identical: {same}")

        routing = folder / "routing.yaml"
        routing.write_text(ROUTING)
        cached_s, _, said = sweep(routing, folder / "routing", 1)
        lines = [json.loads(line) for line in (folder / "routing/log.jsonl").read_text().splitlines()]
        first_s, rest_s = lines[0]["wall_time_s"], [line["wall_time_s"] for line in lines[1:]]
        print(f"\n12 routing variants of one model: {cached_s:.1f} s on one worker")
        print(f"first run, which trains: {first_s:.1f} s; the others: {sum(rest_s):.1f} s, {max(rest_s):.1f} s at most")
        print("\n".join(line for line in said.splitlines() if "trained" in line))

        if options.kills:
            commands = killed(seeds, folder / "killed", options.kills)
            same = (folder / "one/runs.parquet").read_bytes() == (folder / "killed/runs.parquet").read_bytes()
            print(f"\n{options.kills} kills, {commands} commands: runs.parquet identical: {same}")


if __name__ == "__main__":
    main()
