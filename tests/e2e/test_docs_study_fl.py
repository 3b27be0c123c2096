"""The page about the study of federated learning: its tables, its figures, its script on a sweep made small."""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import REPOSITORY, Outcome

from analysis.loading import load_sweep as load_directory
from nmoe_sim.sweeps import load_sweep

PAGE = (REPOSITORY / "docs" / "study-fl.md").read_text()
ASSETS = REPOSITORY / "docs" / "assets"
STUDY = REPOSITORY / "scenarios" / "study_fl"
RUNS = pd.read_csv(ASSETS / "study_fl.csv")
POINTS = pd.read_csv(ASSETS / "study_fl_curves.csv")

SMALL = """
name: small
base:
  name: small
  data: {kind: digits, max_train: 90, max_test: 60, partition: {kind: iid}}
  topology: {num_devices: 3}
  model: {extractor: {hidden: [8], num_features: 8}, expert: {hidden: [4]}}
  training: {experts: {optimizer: {epochs: 1}}}
  inference: {duration_s: 1, arrivals: {rate_hz: 5}}
grid:
  data.partition: [{kind: iid}]
  training.extractor:
    - {kind: fedce, rounds: 2, evaluate_every: 1, probes: [knn, linear]}
    - {kind: untrained, probes: [knn, linear]}
zip:
  training.gate: [{kind: fedgate, rounds: 2, evaluate_every: 1}, {kind: fedgate, synchronise: none, rounds: 2}]
  model.gate.local_scale: [0.2, 0.2]
seeds: 2
"""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "examples" / "study_fl.py"))


@pytest.fixture(scope="module")
def choices() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "examples" / "study_fl_choices.py"))


def test_tables_of_the_page_are_those_of_the_outcomes(script: dict[str, Any]) -> None:
    for name, table in script["tables"](RUNS).items():
        assert table in PAGE, f"table {name}: print it anew with examples/study_fl.py docs/assets"


@pytest.mark.parametrize("file", ["sweep", "cifar10", "fedavg"])
def test_outcomes_are_of_the_runs_that_the_sweeps_have(script: dict[str, Any], file: str) -> None:
    by_itself = RUNS["stage_1"].str.endswith("epochs") == (file == "fedavg")
    known = set(RUNS[by_itself][script["KEY"]].itertuples(index=False, name=None))
    sweep = load_sweep(STUDY / f"{file}.yaml")
    grid, zipped = sweep.spec.grid, sweep.spec.zip
    gates = zip(zipped["training.gate"], zipped["model.gate.local_scale"], strict=True)
    found = itertools.product(
        [partition["kind"] for partition in grid["data.partition"]],
        [script["stage_key"](stage_1) for stage_1 in grid["training.extractor"]],
        [script["gate_key"](gate, scale) for gate, scale in gates],
        sweep.seeds,
    )
    assert set(found) == known
    assert len(known) == by_itself.sum()
    assert RUNS["accuracy_global"].between(0, 1).all()


def test_settings_of_the_study_were_chosen_on_other_images(choices: dict[str, Any]) -> None:
    """The candidates are those of the sweeps, seed 11 and held-out images; the tables are those of the file."""
    kept = pd.read_csv(ASSETS / "study_fl_choices.csv")
    for name, table in choices["tables"](kept).items():
        assert table in PAGE, f"table {name}: print it anew with examples/study_fl_choices.py docs/assets"
    for file, keys in (("choose_features", choices["OF_STAGE_1"]), ("choose_gates", choices["OF_GATE"])):
        sweep = load_sweep(STUDY / f"{file}.yaml")
        spec, seeds = sweep.spec, list(sweep.seeds)
        assert (spec.base["data"]["evaluate_on"], seeds) == ("validation", [11])
        arms = spec.zip["training.gate"] if spec.zip else spec.grid["training.extractor"]
        scales = spec.zip["model.gate.local_scale"] if spec.zip else [None] * len(arms)
        partitions = [partition["kind"] for partition in spec.grid["data.partition"]]
        settings = [choices["settings_of"](arm, scale) for arm, scale in zip(arms, scales, strict=True)]
        expected = pd.DataFrame([{**one, "partition": p} for one in settings for p in partitions])
        columns = [*keys, "partition"]
        mine = kept[kept["gate"].notna() == (file == "choose_gates")]
        found = mine[columns].sort_values(columns).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected[columns].sort_values(columns).reset_index(drop=True))


def test_stage_1_is_trained_as_was_best_on_held_out_images(choices: dict[str, Any]) -> None:
    kept = pd.read_csv(ASSETS / "study_fl_choices.csv")
    mean = kept[kept["gate"].isna()].groupby(choices["OF_STAGE_1"])[list(choices["FEATURES"])].mean().mean(axis=1)
    for arm in load_sweep(STUDY / "sweep.yaml").spec.grid["training.extractor"]:
        if arm["kind"] != "untrained":
            settings = choices["settings_of"](arm, None)
            best = mean.loc[[settings["stage_1"]]].idxmax()
            assert best == (settings["stage_1"], settings["lr"], settings["server_lr"])


def test_figures_show_the_outcomes(script: dict[str, Any]) -> None:
    axes = script["draw_features"](POINTS).axes
    assert [ax.get_title() for ax in axes[:3]] == list(script["PARTITIONS"].values())
    linear = POINTS[(POINTS["metric"] == "accuracy_linear_probe") & (POINTS["partition"] == "iid")]
    last = linear[linear["stage_1"] == "fedce"].groupby("round")["value"].mean()
    drawn = {tuple(line.get_xdata()): line.get_ydata() for line in axes[0].lines if len(line.get_xdata()) > 2}
    assert drawn.keys() == {(0, *last.index)}
    assert any(line.get_ydata()[-1] == pytest.approx(100 * last.iloc[-1]) for line in axes[0].lines)
    top = script["draw_gates"](RUNS).axes[0]
    assert len(top.containers) == len(script["GATES"]) * len(script["STAGES_1"])
    dots = script["draw_costs"](RUNS).axes[0].collections
    assert (
        sum(len(one.get_offsets()) for one in dots)
        == ((RUNS["partition"] == "iid") & RUNS["stage_1"].isin(script["STAGES_1"])).sum()
    )
    assert len(script["draw_rounds"](POINTS).axes[1].lines) == len(script["GATES"])


def test_outcomes_of_a_sweep(folder: Path, cli: Callable[..., Outcome], script: dict[str, Any]) -> None:
    """Run a small one, and look up in its tables what the script says."""
    Path("small.yaml").write_text(SMALL)
    done = cli("sweep", "small.yaml", "--out", "small", "--workers", "1", "--quiet")
    assert done.status == 0, done.err
    script["main"](["small", "."])
    runs, points = pd.read_csv("study_fl.csv"), pd.read_csv("study_fl_curves.csv")
    sweep = load_directory("small")
    assert len(runs) == len(sweep.done) == 8
    assert set(runs["gate"]) == {"shared 0.2", "none 0.2"}
    summary = sweep.done.set_index("run_id")
    right = summary.loc[runs["run_id"], "accuracy_global"]
    assert runs["accuracy_global"].tolist() == pytest.approx(right.tolist(), rel=1e-5)
    energy = sweep.tables["energy"].query("phase == 'training' and component != 'idle'").groupby("run_id")["energy_j"]
    assert runs["energy_training_j"].tolist() == pytest.approx(energy.sum()[runs["run_id"]].tolist(), rel=1e-5)
    assert runs["own_asked"].between(0, 1).all()
    assert (runs["to_target_n_bytes"].isna() | (runs["to_target_n_bytes"] <= runs["bytes_training"])).all()
    rounds = points[points["stage"] == "extractor"].groupby("stage_1")["round"].unique()
    assert {name: sorted(values) for name, values in rounds.items()} == {"fedce": [1, 2], "untrained": [0]}
    assert len(points[(points["stage"] == "gate") & (points["gate"] == "shared 0.2")]) == 2 * 2 * 2
    assert Path("study_fl_features.svg").stat().st_size > 1000


def test_lost_experts_are_those_of_their_sweep() -> None:
    """The table is that of the file, whose runs are the sweep's."""
    balance = runpy.run_path(str(REPOSITORY / "examples" / "study_fl_balance.py"))
    kept = pd.read_csv(ASSETS / "study_fl_balance.csv")
    assert balance["table"](kept) in PAGE, "print it anew with examples/study_fl_balance.py docs/assets"
    sweep = load_sweep(STUDY / "balance.yaml")
    zipped = sweep.spec.zip
    gates = [
        (balance["STUDY"]["gate_key"](gate, scale), gate["load_balance"], seed)
        for gate, scale in zip(zipped["training.gate"], zipped["model.gate.local_scale"], strict=True)
        for seed in sweep.seeds
    ]
    assert set(gates) == set(kept[["gate", "load_balance", "seed"]].itertuples(index=False, name=None))
    assert len(gates) == len(kept)
    # what the text says: who is lost, and that the loss of 0.1 keeps all
    lost = kept.groupby("load_balance")["never_asked"].sum()
    assert lost[0] == lost[0.01] > 0 == lost[0.1]


def test_lost_experts_of_a_small_sweep(folder: Path, cli: Callable[..., Outcome]) -> None:
    """Count them anew from the table of requests."""
    gate = "{kind: fedgate, rounds: 2, load_balance: 0.1}"
    small = SMALL.replace("{kind: fedgate, rounds: 2, evaluate_every: 1}", gate).replace(
        "synchronise: none", "load_balance: 0"
    )
    Path("small.yaml").write_text(small)
    done = cli("sweep", "small.yaml", "--out", "small", "--workers", "1", "--quiet")
    assert done.status == 0, done.err
    runpy.run_path(str(REPOSITORY / "examples" / "study_fl_balance.py"))["main"](["small", "."])
    kept, sweep = pd.read_csv("study_fl_balance.csv"), load_directory("small")
    assert sorted(set(kept["load_balance"])) == [0.0, 0.1]
    asked = [
        {expert for experts in rows["experts"] for expert in experts}
        for _, rows in sweep.tables["requests"].groupby("run_id")
    ]
    assert sorted(kept["never_asked"]) == sorted(3 - len(experts) for experts in asked)
