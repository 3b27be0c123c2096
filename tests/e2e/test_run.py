"""A run through the real command: what lies in its directory, and what becomes of that directory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest
from conftest import TINY, command, listing, popen

from nmoe_sim import InputError, load_run, load_scenario

# The public interface: table -> type -> columns.
TYPES = {
    "int": "int64",
    "float": "double",
    "text": "string",
    "bool": "bool",
    "ints": "list<element: int64>",
    "texts": "list<element: string>",
}
TABLES = {
    "requests": {
        "int": "request_id sample_index label prediction n_bytes",
        "text": "client outcome",
        "float": "t_arrival_s t_done_s latency_s energy_j",
        "bool": "deadline_met correct",
        "ints": "experts",
        "texts": "hosts",
    },
    "transfers": {
        "int": "transfer_id request_id round n_bytes",
        "text": "stage src dst medium kind outcome",
        "float": (
            "t_ready_s t_start_s t_end_s tail_s airtime_s sinr_db mean_rate_bps retransmissions tx_energy_j rx_energy_j"
        ),
    },
    "compute": {
        "int": "job_id request_id round",
        "text": "stage device kind outcome",
        "float": "flop t_ready_s t_start_s t_end_s energy_j",
    },
    "energy": {
        "text": "device component phase",
        "float": "energy_j",
    },
    "rounds": {
        "text": "stage client reason",
        "int": "round num_samples bytes_down bytes_up version staleness",
        "bool": "participated",
        "float": "t_start_s t_end_s loss",
    },
    "metrics": {
        "text": "stage metric split client",
        "int": "round",
        "float": "t_s value",
    },
    "partition": {
        "text": "client",
        "int": "label num_train num_test",
    },
    "positions": {
        "text": "device",
        "float": "t_s x_m y_m",
    },
    "handovers": {
        "text": "device from_station to_station",
        "float": "t_s interruption_s",
        "int": "num_aborted",
    },
    "outages": {
        "text": "device reason",
        "float": "t_down_s t_up_s",
    },
    "placement": {
        "int": "expert bytes",
        "text": "owner device",
    },
    "devices": {
        "text": "device kind",
        "float": "x_m y_m flop_per_s utilisation battery_j_left",
        "int": "memory_bytes memory_used_bytes",
    },
    "links": {
        "text": "src dst",
        "float": "t_s distance_m path_loss_db sinr_db rate_bps",
    },
    "summary": {
        "text": "run_id scenario",
        "int": "seed bytes_training bytes_inference",
        "float": (
            "accuracy_global accuracy_local latency_mean_s latency_p50_s latency_p95_s latency_p99_s "
            "deadline_met_ratio completed_ratio energy_total_j energy_per_request_j training_time_s "
            "expert_load_jain"
        ),
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Output and directory of a run by the real command, in a directory of its own."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(TINY)
    outcome = command("run", "tiny.yaml", cwd=folder)
    assert outcome.status == 0, outcome.err
    return outcome, folder / "runs" / "tiny"


def test_what_the_terminal_shows(finished):
    outcome, _ = finished
    assert outcome.err == ""
    for words in ("networked mixture", "own expert only", "latency p99", "energy per request", "bytes moved"):
        assert words in outcome.out
    assert "results: runs/tiny" in outcome.out


def test_what_the_directory_holds(finished):
    _, path = finished
    assert {p.name for p in path.iterdir()} == {"manifest.json", "scenario.yaml", "summary.json", "tables", "values"}
    assert {p.name for p in (path / "tables").iterdir()} == {f"{name}.parquet" for name in TABLES}
    stages = sorted(p.name.partition("-")[0] for p in (path / "values").iterdir())
    assert stages == ["experts", "extractor", "gate"]
    assert all(p.suffix == ".safetensors" for p in (path / "values").iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_table(finished, name):
    import pyarrow.parquet as pq

    _, path = finished
    schema = pq.read_schema(path / "tables" / f"{name}.parquet")
    types = {field.name: str(field.type) for field in schema}
    expected = {column: TYPES[kind] for kind, columns in TABLES[name].items() for column in columns.split()}
    assert expected.items() <= types.items()
    num_rows = pq.read_metadata(path / "tables" / f"{name}.parquet").num_rows
    assert (num_rows > 0) == (name not in ("handovers", "outages"))  # nobody moves or goes away here


def test_manifest(finished):
    _, path = finished
    manifest = json.loads((path / "manifest.json").read_text())
    keys = {"scenario", "scenario_hash", "seed", "versions", "git_commit", "tables", "wall_time_s"}
    assert keys <= manifest.keys()
    assert manifest["seed"] == 3
    assert 0 < manifest["wall_time_s"] < 300
    assert {"torch", "numpy", "simpy", "python", "nmoe-sim"} <= manifest["versions"].keys()
    assert manifest["tables"] == {
        name: hashlib.sha256((path / "tables" / f"{name}.parquet").read_bytes()).hexdigest() for name in TABLES
    }


def test_summary_json_is_the_summary_table(finished):
    _, path = finished
    [row] = pd.read_parquet(path / "tables" / "summary.parquet").to_dict("records")
    assert json.loads((path / "summary.json").read_text()) == row


def test_load_run(finished):
    _, path = finished
    result = load_run(path)
    assert result.tables.keys() == TABLES.keys()
    assert result.summary == json.loads((path / "summary.json").read_text())
    requests = result.tables["requests"]
    assert requests["t_arrival_s"].is_monotonic_increasing
    assert (requests["latency_s"] - (requests["t_done_s"] - requests["t_arrival_s"])).abs().max() < 1e-12
    assert requests["deadline_met"].dtype == "boolean"
    assert result.tables["transfers"]["request_id"].dtype == "Int64"


def test_the_resolved_scenario_is_the_same_run(finished):
    _, path = finished
    resolved, written = load_scenario(path / "scenario.yaml"), load_scenario(path.parents[1] / "tiny.yaml")
    assert resolved.run_id == written.run_id == load_run(path).summary["run_id"]
    assert resolved.run_id.startswith(load_run(path).manifest["scenario_hash"][:12])


def test_a_changed_table_is_refused(finished, tmp_path):
    _, path = finished
    copy = shutil.copytree(path, tmp_path / "copy")
    assert load_run(copy).summary == load_run(path).summary
    table = copy / "tables" / "energy.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match=r"energy\.parquet.*sha256"):
        load_run(copy).tables["energy"]
    table.unlink()
    with pytest.raises(InputError, match=r"energy\.parquet.*missing"):
        load_run(copy).tables["energy"]
    for content, reason in (("{}", "not that of a run"), ("{", "damaged"), ("[]", "not that of a run")):
        (copy / "manifest.json").write_text(content)
        with pytest.raises(InputError, match=reason):
            load_run(copy)


@pytest.fixture
def done(cli, tiny):
    """A finished run in ``out`` of the working directory, by this process."""
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet").status == 0
    return Path("out")


def test_quiet_says_nothing(cli, tiny):
    outcome = cli("run", "tiny.yaml", "--out", "out", "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_the_same_run_is_replaced_and_comes_out_the_same(cli, done):
    before = listing(done)
    (done / "tables" / "energy.parquet").write_bytes(b"spoilt")
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet").status == 0
    after = listing(done)
    assert before.pop("manifest.json") != after.pop("manifest.json")  # it holds the wall time
    assert after == before


@pytest.mark.parametrize("change", [["--seed", "4"], ["--set", "inference.duration_s=2"]], ids=" ".join)
def test_another_run_is_refused_without_overwrite(cli, done, change):
    before = listing(done)
    refused = cli("run", "tiny.yaml", "--out", "out", "--quiet", *change)
    assert refused.status == 2
    assert refused.err.startswith("error: out: holds the finished run ")
    assert "--overwrite" in refused.err
    assert refused.err.count("\n") == 1
    assert listing(done) == before
    old = load_run(done).summary["run_id"]
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet", *change, "--overwrite").status == 0
    assert load_run(done).summary["run_id"] != old


@pytest.mark.parametrize("name", ["notes.txt", "tables/notes.txt", "values/notes.txt"])
def test_a_file_that_a_user_adds_to_a_run_stays(cli, done, name):
    """Whether the directory is then refused or used again is another matter."""
    (done / name).write_text("mine")
    cli("run", "tiny.yaml", "--out", "out", "--quiet")
    cli("run", "tiny.yaml", "--out", "out", "--quiet", "--seed", "4", "--overwrite")
    assert (done / name).exists()
    assert (done / name).read_text() == "mine"


class Crash(BaseException):
    """Stands for a power cut: nothing catches it."""


@pytest.mark.parametrize(
    "file",
    [
        "",
        "scenario.yaml",
        "checkpoint",
        "extractor-*.safetensors",
        "experts-",
        "gate-*.safetensors",
        "requests.parquet",
        "summary.parquet",
        "summary.json",
        "manifest.json",
    ],
)
@pytest.mark.parametrize("over", [False, True], ids=["fresh", "over a finished run"])
def test_a_crash_at_any_write_leaves_nothing_that_looks_finished(
    cli, tiny, finished, tmp_path, monkeypatch, file, over
):
    """The power goes when a file is on the disc but hasn't its name yet; '' is the first file of all.

    A run that goes on, and one that begins again, then end as if nothing had been.
    """
    out, whole = Path("out"), load_run(finished[1]).manifest["tables"]
    if over:
        shutil.copytree(finished[1], out)
    before, real, stored = listing(tiny.parent), os.fsync, []

    def fsync(descriptor: int, crash: bool = True) -> None:
        real(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if crash and fnmatch(path.name, f"*{file}*"):
            raise Crash
        if path.parent.name == "values":
            stage, _, rest = path.name[1:].partition("-")
            stored.append(f"{stage}.{rest.split('.')[1]}")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(Crash):
            cli("run", "tiny.yaml", "--out", "out", "--quiet")
    if over and (out / "manifest.json").exists():
        assert before.items() <= listing(tiny.parent).items(), "the finished run is untouched"
    else:
        with pytest.raises(InputError, match="no finished run here"):
            load_run(out)
    shutil.copytree(out, tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: fsync(descriptor, crash=False))
        resumed = cli("run", "tiny.yaml", "--out", "out", "--quiet", "--resume")
    assert resumed.status == 0, resumed.err
    # what training had stored wasn't computed once more
    assert sorted(stored) == [
        "experts.safetensors",
        "extractor.checkpoint",
        "extractor.safetensors",
        "gate.checkpoint",
        "gate.safetensors",
    ]
    again = cli("run", "tiny.yaml", "--out", str(tmp_path / "again"), "--quiet")
    assert again.status == 0, again.err
    for path in (out, tmp_path / "again"):
        assert load_run(path).manifest["tables"] == whole
        assert not [name for name in listing(path) if "partial" in name or "checkpoint" in name]


LONG = ["run", "tiny.yaml", "--out", "out", "--set", "training.extractor.rounds=50000"]


def under_way(folder: Path):
    """Start a long run and wait until it is in its rounds."""
    process = popen(*LONG, cwd=folder)
    for _ in range(600):
        if (folder / "out" / "scenario.yaml").exists():
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    raise AssertionError("the run didn't start")


def test_a_killed_run(cli, tiny):
    process = under_way(tiny.parent)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not Path("out/manifest.json").exists()
    with pytest.raises(InputError, match="no finished run here"):
        load_run("out")
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet").status == 0
    assert load_run("out").summary["scenario"] == "tiny"


def test_an_interrupted_run(cli, tiny):
    process = under_way(tiny.parent)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("interrupted: ")
    assert err.count("\n") == 1
    assert not Path("out/manifest.json").exists()
    assert cli("run", "tiny.yaml", "--out", "out", "--quiet").status == 0


def test_python_does_what_the_command_does(cli, done, tmp_path):
    from nmoe_sim import run

    scenario = load_scenario("tiny.yaml")
    result = run(scenario, out_dir=tmp_path / "python")
    assert result.summary == load_run(done).summary
    faster = scenario.replace({"radio.bandwidth_hz": 40e6})
    assert run(faster, tmp_path / "faster").summary["training_time_s"] < result.summary["training_time_s"]


def test_place_compares_solvers(cli, tiny):
    outcome = cli("place", "tiny.yaml", "--solver", "home", "milp", "greedy", "random", "--out", "out", "--quiet")
    assert outcome.status == 0
    frame = pd.read_csv("out/placements.csv").set_index("solver")
    assert list(frame.index) == ["home", "milp", "greedy", "random"]
    assert all(name in outcome.out for name in frame.index)
    assert {"objective", "gap", "solve_time_s"} <= set(frame.columns)
    assert (frame["objective"] >= frame.loc["milp", "bound"] * (1 - 1e-9)).all()
    assert frame.loc["milp", "gap"] == pytest.approx(0, abs=1e-6)
    assert frame.loc["home", "hosts"] == "dev0 dev1 dev2"
    assert [path.name for path in Path("out").iterdir()] == ["placements.csv"]
