"""Sweeps with real worker processes: whoever runs what, and whatever dies on the way, the same tables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY, Outcome, command, popen

# A policy that takes its time without computing, so that there is time to kill, and one that fails.
PLUGIN = """\
import time
from typing import ClassVar
from nmoe_sim.inference.routing import TopK

class Slow(TopK):
    kind: ClassVar[str] = "slow"
    def route(self, query, view):
        time.sleep(0.004)
        return super().route(query, view)

class Broken(TopK):
    kind: ClassVar[str] = "broken"
    def route(self, query, view):
        print("this must not be taken for an answer")
        return [1 // 0, object()]

FAMILIES = {"routing": [Slow, Broken]}
"""
SWEEP = """\
name: small
base: tiny.yaml
grid:
  inference.routing.kind: [broken, slow]
  radio.bandwidth_hz: [5e6, 20e6]
seeds: 2
derived: {bits: 8 * bytes_inference, gap: accuracy_global - accuracy_local}
"""
NUM_RUNS, NUM_FAILING = 8, 4
ARGUMENTS = ("sweep", "small.yaml", "--plugin", "plugin.py", "--out", "out")


def write_inputs(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "small.yaml").write_text(SWEEP)


def tables(folder: Path) -> dict[str, bytes]:
    """Everything a sweep leaves but its log, by path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "log.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs; one folder for all, since tracebacks name the plug-in's path."""
    folder = tmp_path_factory.mktemp("sweep")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def reference(home: Path) -> tuple[Outcome, dict[str, bytes]]:
    """The sweep with one worker, undisturbed."""
    outcome = command(*ARGUMENTS, "--workers", "1", cwd=home)
    (home / "out").rename(home / "reference")
    return outcome, tables(home / "reference")


@pytest.fixture
def out(home: Path) -> Iterator[Path]:
    """Where the sweep goes in each test, always the same path."""
    yield home / "out"
    (home / "out").rename(home / f"out-{time.monotonic_ns()}")


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_tables_failures_and_what_is_said(home, reference):
    outcome, files = reference
    assert outcome.status == 1
    runs = pd.read_parquet(home / "reference" / "runs.parquet")
    assert len(runs) == NUM_RUNS
    assert list(runs.columns[:5]) == ["run_id", "status", "inference.routing.kind", "radio.bandwidth_hz", "seed"]
    assert list(runs["inference.routing.kind"]) == ["broken"] * 4 + ["slow"] * 4
    assert list(runs["radio.bandwidth_hz"]) == [5e6, 5e6, 20e6, 20e6] * 2
    assert list(runs["seed"]) == [3, 4] * 4
    assert list(runs["status"]) == ["failed"] * 4 + ["done"] * 4
    failed, done = runs.iloc[:4], runs.iloc[4:]
    assert (done["bits"] == 8 * done["bytes_inference"]).all()
    assert (done["gap"] == done["accuracy_global"] - done["accuracy_local"]).all()
    assert done["error"].isna().all()
    assert done.iloc[0]["latency_mean_s"] > done.iloc[2]["latency_mean_s"]  # four times the bandwidth
    assert done.iloc[0]["accuracy_global"] == done.iloc[2]["accuracy_global"]  # and the same model
    assert (failed["error"] == "ZeroDivisionError: integer division or modulo by zero").all()
    assert failed["traceback"].str.contains("plugin.py").all()
    assert failed["latency_mean_s"].isna().all()
    assert failed["bits"].isna().all()
    for table in ("requests", "transfers", "energy", "summary"):
        parts = sorted((home / "reference" / "tables" / table).iterdir())
        assert [part.stem for part in parts] == sorted(done["run_id"])
        for part in parts:
            frame = pd.read_parquet(part)
            assert frame.columns[0] == "run_id"
            assert set(frame["run_id"]) == {part.stem}
    whole = pd.read_parquet(home / "reference" / "tables" / "requests")
    assert len(whole) == sum(len(pd.read_parquet(p)) for p in (home / "reference/tables/requests").iterdir())
    assert "4 of 8 runs done" in outcome.out
    assert "extractor: trained 2 times, taken from the store 6 times" in outcome.out
    assert "4 runs failed; runs.parquet has their tracebacks" in outcome.err
    assert outcome.err.count(": done\n") == outcome.err.count(": failed: ZeroDivisionError") == 4
    assert not [path for path in files if path.endswith(".partial")]


def test_a_sweeps_run_is_the_run(home, reference, cli, monkeypatch):
    """A run of the sweep has the tables of the run on its own, without any store."""
    runs = pd.read_parquet(home / "reference" / "runs.parquet")
    settings = ["--set", "inference.routing.kind=slow", "--set", "radio.bandwidth_hz=20e6", "--seed", "4"]
    monkeypatch.chdir(home)
    alone = cli("run", "tiny.yaml", "--plugin", "plugin.py", "--quiet", "--out", "alone", *settings)
    assert alone.status == 0, alone.err
    run_id = runs.loc[7, "run_id"]
    for path in sorted((home / "alone" / "tables").iterdir()):
        mine = pd.read_parquet(home / "reference" / "tables" / path.stem / f"{run_id}.parquet")
        expected = pd.read_parquet(path)
        pd.testing.assert_frame_equal(mine[expected.columns], expected)


def test_two_workers_one_killed(home, reference, out):
    with popen(*ARGUMENTS, "--workers", "2", cwd=home) as process:
        wait_for(lambda: any((out / "records").glob("*.json")))
        victim = max(workers_of(process.pid))
        os.kill(victim, signal.SIGKILL)
        message = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert message.count("a worker was killed by signal 9") == message.count("once more in 0.5 s") == 1
    assert [entry["status"] for entry in log(out)].count("lost") == 1
    assert tables(out) == reference[1]


def test_interrupted_then_killed_then_resumed(home, reference, out):
    records = out / "records"
    with popen(*ARGUMENTS, "--workers", "1", cwd=home) as process:
        wait_for(lambda: any(records.glob("*.json")))
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert message.endswith("interrupted: finished runs are kept; run the same command again to go on\n")
    assert "Traceback" not in message
    runs = pd.read_parquet(out / "runs.parquet")
    num_records = len(list(records.glob("*.json")))
    assert num_records == (runs["status"] != "pending").sum() >= 1

    with popen(*ARGUMENTS, "--workers", "1", cwd=home) as process:
        wait_for(lambda: len(list(records.glob("*.json"))) > num_records)
        children = workers_of(process.pid)
        process.kill()
        process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))  # they end with it
    runs = pd.read_parquet(out / "runs.parquet")  # whole at any time
    assert len(runs) == NUM_RUNS

    outcome = command(*ARGUMENTS, "--workers", "1", "--quiet", cwd=home)
    assert outcome.status == 1
    assert outcome.out == ""
    assert tables(out) == reference[1]
    runs = pd.read_parquet(out / "runs.parquet")
    attempts = [entry["run_id"] for entry in log(out)]
    assert attempts.count(runs["run_id"][0]) >= 2  # what failed is tried again
    assert all(attempts.count(run_id) <= 1 for run_id in runs.loc[runs["status"] == "done", "run_id"])


def test_other_sweeps_and_foreign_folders_are_refused(home, reference, cli, monkeypatch):
    monkeypatch.chdir(home)
    before = tables(home / "reference")
    (home / "other.yaml").write_text(SWEEP.replace("seeds: 2", "seeds: 3"))
    arguments = ("--plugin", "plugin.py", "--out", "reference")
    refused = cli("sweep", "other.yaml", *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        "error: reference: holds another sweep: its settings, seeds or derived columns differ; choose another --out\n"
    )
    (home / "other.py").write_text(PLUGIN.replace("0.004", "0.005"))
    refused = cli("sweep", "small.yaml", "--plugin", "other.py", "--out", "reference")
    assert refused.status == 2
    assert "its plug-ins differ" in refused.err
    (home / "mine").mkdir()
    (home / "mine" / "notes.txt").write_text("mine")
    refused = cli("sweep", "small.yaml", "--plugin", "plugin.py", "--out", "mine")
    assert refused.status == 2
    assert "not empty, and no sweep's directory" in refused.err
    assert tables(home / "reference") == before


def test_dry_run(home, reference, cli, monkeypatch):
    monkeypatch.chdir(home)
    listed = cli("sweep", "small.yaml", "--plugin", "plugin.py", "--dry-run")
    assert (listed.status, listed.err) == (0, "")
    assert "small: 8 runs of 2 trained models" in listed.out
    assert listed.out.count("extractor experts gate") == 2
    runs = pd.read_parquet("reference/runs.parquet")
    assert all(run_id in listed.out for run_id in runs["run_id"])
    assert listed.out.count(f"as {runs['run_id'][0]}") == 3
    assert "to do: 8 runs" in listed.out
    rest = cli("sweep", "small.yaml", "--plugin", "plugin.py", "--dry-run", "--out", "reference")
    assert "to do: 4 runs, 0 FLOP of training" in rest.out
    assert not Path("runs").exists()


REFUSED = {
    "unknown setting": ("name: s\nbase: tiny.yaml\ngrid: {radio.x: [1]}\n", [], "error: s.yaml:3:8: radio.x: unknown"),
    "no base": ("name: s\n", [], "error: s.yaml:1:1: base: missing"),
    "empty": ("", [], "error: s.yaml: empty"),
    "a scenario": (TINY, [], "error: s.yaml:2:1: seed: unknown key; did you mean 'seeds'?"),
    "no such data": (
        "name: s\nbase: tiny.yaml\nlist: [{data: {kind: fashion_mnist, directory: no}, model.extractor.kind: cnn}]\n",
        [],
        "no folder holds fashion_mnist",
    ),
    "no workers": ("name: s\nbase: tiny.yaml\n", ["--workers", "0"], "error: argument --workers: must be a whole"),
    "many workers": ("name: s\nbase: tiny.yaml\n", ["--workers", "x"], "error: argument --workers: must be a whole"),
    "both": ("name: s\nbase: tiny.yaml\n", ["--workers", "2", "--cluster", "x"], "not allowed with"),
    "no such file of a cluster": ("name: s\nbase: tiny.yaml\n", ["--cluster", "no.json"], "error: --cluster no.json: "),
    "no plug-in": ("name: s\nbase: tiny.yaml\n", ["--plugin", "no.py"], "error: no.py: no such plug-in file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_input_leaves_nothing_behind(cli, tiny, monkeypatch, what):
    from nmoe_sim.nmoe.datasets import files

    monkeypatch.setattr(files, "_SYSTEM_FOLDER", tiny.parent / "system")
    monkeypatch.setenv("XDG_DATA_HOME", str(tiny.parent))
    monkeypatch.delenv("NMOE_SIM_DATA_DIR", raising=False)
    text, options, saying = REFUSED[what]
    Path("s.yaml").write_text(text)
    before = sorted(tiny.parent.rglob("*"))
    outcome = cli("sweep", "s.yaml", "--out", "out", *options)
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: ")
    assert saying in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert sorted(tiny.parent.rglob("*")) == before


def test_out_is_needed(cli, tiny):
    outcome = cli("sweep", "bandwidth")
    assert (outcome.status, outcome.err) == (2, "error: --out: missing; name a directory for the results\n")


def test_a_dask_cluster_one_worker_killed(home, reference, out):
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    file = home / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([*dask, *arguments, "--no-dashboard"], cwd=home, env=environment, **quiet)
        started.append(process)
        return process

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        of_worker = ("--scheduler-file", str(file), "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1")
        first, second = (start("worker", *of_worker) for _ in range(2))
        wait_for(file.exists)
        with popen(*ARGUMENTS, "--cluster", str(file), cwd=home) as process:
            wait_for(lambda: any((out / "records").glob("*.json")))
            wait_for(lambda: workers_of(first.pid) or workers_of(second.pid))
            victim = first if workers_of(first.pid) else second
            [child] = workers_of(victim.pid)
            victim.kill()
            wait_for(lambda: not Path(f"/proc/{child}").exists())  # its run ends with it
            process.communicate(timeout=120)
        assert process.returncode == 1
        assert tables(out) == reference[1]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
