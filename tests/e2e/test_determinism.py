"""Same scenario, same seed: the same bytes, whatever the process, its threads and its hash seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import TINY, command, listing

# Images, convolutions and the contrastive stage; fading, multi-hop routes, moved experts, random routing.
CNN = """\
name: cnn
seed: 5
data: {kind: fashion_mnist, directory: DIRECTORY, partition: {kind: dirichlet, alpha: 1, min_samples: 8}}
topology: {kind: grid, num_devices: 4, spacing_m: 40}
devices: [{profile: phone, count: 2}, {profile: raspberry_pi_4}]
radio: {path_loss: {kind: log_distance}}
model:
  extractor: {kind: cnn, channels: [4, 8], num_features: 16, groups: 2}
  gate: {hidden: [8]}
training:
  extractor:
    kind: fedsc
    rounds: 2
    projector_hidden: [16]
    projector_dim: 8
    correlation_noise_std: 0.01
    optimizer: {batch_size: 16, momentum: 0.9, clip_norm: 1, schedule: cosine}
  experts: {optimizer: {epochs: 2}}
  gate: {rounds: 2, exchange: outputs}
placement: {kind: random}
inference: {duration_s: 3, deadline_s: 0.02, at_deadline: combine, samples: local, routing: {kind: random}}
"""
# Wide enough that PyTorch splits products over threads, and a load that queues.
WIDE = """\
name: wide
seed: 7
data: {kind: digits, partition: {kind: shards}}
topology: {kind: cell, num_devices: 6, sidelink_range_m: 100}
model: {extractor: {kind: mlp, hidden: [512], num_features: 128}, expert: {hidden: [256]}}
training:
  extractor: {kind: fedce, rounds: 1, optimizer: {batch_size: 256}}
  experts: {optimizer: {epochs: 1, batch_size: null}}
  gate: {rounds: 2, optimizer: {batch_size: null}}
placement: {kind: milp}
inference: {duration_s: 3, arrivals: {rate_hz: 30}, routing: {kind: top_k}}
"""
# What the radio brings: cells that interfere, motion, handovers, NR with HARQ, sub-bands, beams, turns.
MOVING = """\
name: moving
seed: 2
data: {kind: digits, max_train: 120, max_test: 60, partition: {kind: iid}}
topology: {kind: multi_cell, num_sites: 3, num_sectors: 3, num_devices: 6, inter_site_distance_m: 60,
  backhaul: {delay_s: 0}}
mobility: {kind: gauss_markov, mean_speed_m_per_s: 30, velocity_std_m_per_s: 5, record_every_s: 0.5}
handover: {hysteresis_db: 0.5, time_to_trigger_s: 0, period_s: 0.02}
radio:
  bandwidth_hz: 5e6
  base_station_antenna: {kind: sector}
  device_antenna: {kind: upa, num_rows: 1, num_columns: 2, element: isotropic}
  fading: {kind: rician, speed_m_per_s: 30, coherence_time_s: 2.0e-3, delay_spread_s: 1.0e-7, num_subbands: 2}
  link_adaptation: {kind: nr}
  sharing: {kind: proportional_fair}
model: {top_k: 3, extractor: {kind: mlp, hidden: [8], num_features: 4096}, expert: {hidden: [4]}}
training:
  extractor: {kind: fedce, rounds: 1}
  experts: {optimizer: {epochs: 1}}
  gate: {kind: fedgate, rounds: 1}
inference: {duration_s: 2, arrivals: {kind: poisson, rate_hz: 6}}
"""
# Devices that go away, come back and run empty, at clock frequencies of their own.
AWAY = """\
name: away
seed: 4
data: {kind: digits, max_train: 120, max_test: 60, partition: {kind: iid}}
topology: {kind: disc, num_devices: 5, radius_m: 40, range_m: 60}
faults: {kind: on_off, mean_up_s: 1, mean_down_s: 0.2}
devices:
  - {profile: phone, battery_j: 0.8, count: 2, dvfs: {kind: deadline, kappa: 1.0e-26}}
  - {profile: phone, battery_j: 50, initial_charge: 0.1, dvfs: {kind: energy_optimal, static_w: 0.5}}
radio: {bandwidth_hz: 1e6, retry: {max_training_retries: 5}}
model: {extractor: {kind: mlp, hidden: [8], num_features: 8}, expert: {hidden: [4]}}
training:
  extractor: {kind: fedce, rounds: 2}
  experts: {optimizer: {epochs: 1}}
  gate: {kind: fedgate, rounds: 1}
inference: {duration_s: 4, deadline_s: 0.1, at_deadline: combine, arrivals: {kind: poisson, rate_hz: 8}}
"""
ALL_IN_ONE_PROCESS = """\
import sys
from nmoe_sim.cli import main
for name in ("cnn", "wide", "moving", "away", "tiny"):
    if status := main(["run", f"{name}.yaml", "--out", f"{sys.argv[1]}/{name}", "--quiet"]):
        sys.exit(status)
"""
MACHINES = {
    "one": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
    "two": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, fashion_files):
    """Five scenarios, each run in two processes that differ in all that mustn't matter."""
    folder = tmp_path_factory.mktemp("determinism")
    texts = {"cnn": CNN.replace("DIRECTORY", str(fashion_files)), "wide": WIDE, "moving": MOVING}
    texts |= {"away": AWAY, "tiny": TINY}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    for machine, environment in MACHINES.items():
        script = folder / f"{machine}.py"
        script.write_text(ALL_IN_ONE_PROCESS)
        outcome = command(machine, cwd=folder, environment=environment, python=str(script))
        assert outcome.status == 0, outcome.err
    return folder


@pytest.mark.parametrize("scenario", ["cnn", "wide", "moving", "away", "tiny"])
@pytest.mark.parametrize("part", ["tables", "values", "summary.json", "scenario.yaml"])
def test_two_processes_write_the_same_bytes(runs, scenario, part):
    one, two = (listing(runs / machine / scenario) for machine in MACHINES)
    mine = {path: digest for path, digest in one.items() if path.startswith(part)}
    assert mine
    assert {path: digest for path, digest in two.items() if path.startswith(part)} == mine


def test_the_scenarios_exercise_what_could_differ(runs):
    from nmoe_sim import load_run

    cnn, wide = (load_run(runs / "one" / name).tables for name in ("cnn", "wide"))
    assert (cnn["placement"]["owner"] != cnn["placement"]["device"]).any()
    assert {"correlation", "expert", "features", "output"} <= set(cnn["transfers"]["kind"])
    assert cnn["transfers"]["hop"].max() >= 1
    assert (cnn["requests"]["experts"].str.len() == 2).all()
    assert (wide["compute"]["t_start_s"] > wide["compute"]["t_ready_s"]).any()
    moving = load_run(runs / "one" / "moving").tables
    assert len(moving["handovers"]) > 3
    assert {"delivered", "link_down"} <= set(moving["transfers"]["outcome"])
    assert moving["transfers"]["retransmissions"].sum() > 0
    assert moving["transfers"]["attempt"].max() > 0
    away = load_run(runs / "one" / "away").tables
    assert set(away["outages"]["reason"]) == {"battery", "churn"}
    assert {"completed", "client_down"} <= set(away["requests"]["outcome"])


@pytest.mark.parametrize(
    "table", ["requests", "transfers", "compute", "energy", "rounds", "metrics", "links", "positions", "summary"]
)
def test_another_seed_writes_others(runs, cli, monkeypatch, table):
    monkeypatch.chdir(runs)
    other = Path("seed4/tiny")
    if not other.exists():
        assert cli("run", "tiny.yaml", "--seed", "4", "--out", str(other), "--quiet").status == 0
    files = [path / "tables" / f"{table}.parquet" for path in (Path("one/tiny"), other)]
    assert files[0].read_bytes() != files[1].read_bytes()
