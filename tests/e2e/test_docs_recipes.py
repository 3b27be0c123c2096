"""Pages of the how-to, followed: their files, and their scripts on shipped scenarios made small."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, Outcome

from nmoe_sim import load_run, load_scenario, run
from nmoe_sim.checks import check
from nmoe_sim.errors import InputError

HOW_TO = REPOSITORY / "docs" / "how-to"
SMALL: dict[str, Any] = {
    "data.max_train": 300,
    "data.max_test": 100,
    "training.extractor.rounds": 1,
    "training.experts.optimizer.epochs": 1,
    "training.gate.rounds": 1,
    "inference.duration_s": 2.0,
}


def shown(page: str, name: str) -> str:
    """The file of that name on a page."""
    [text] = re.findall(rf'^```\w+ title="{name}"\n(.*?)^```$', (HOW_TO / page).read_text(), re.DOTALL | re.MULTILINE)
    return str(text)


def follow(script: str) -> dict[str, Any]:
    """Save a script of the page on cells and run it."""
    Path(script).write_text(shown("cells.md", script))
    return runpy.run_path(script)


@pytest.mark.parametrize(
    ("name", "changes", "prints"),
    [
        ("multi_cell", {"topology.num_devices": 6}, r"training +-?\d"),
        (
            "handover",
            {"mobility.min_speed_m_per_s": 80.0, "mobility.max_speed_m_per_s": 100.0},
            r"^[1-9]\d* handovers, ",
        ),
        ("mesh", {}, r"\(10, 20\] +[1-9]"),
    ],
)
def test_script_reads_a_run(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, changes: dict[str, Any], prints: str
) -> None:
    scenario = load_scenario(REPOSITORY / "scenarios" / f"{name}.yaml").replace(SMALL | changes)
    result = run(scenario, folder / "runs" / name)
    assert (result.tables["requests"]["outcome"] != "expired").all()
    capsys.readouterr()
    follow(f"{name}.py")
    assert re.search(prints, capsys.readouterr().out, re.MULTILINE)


def test_reuse_of_the_band(folder: Path, cli: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown("cells.md", "reuse.yaml")
    Path("reuse.yaml").write_text(text)
    dry = cli("sweep", "reuse.yaml", "--dry-run")
    assert dry.status == 0, dry.err
    assert "6 runs of 3 trained models" in dry.out
    small = (
        "  data: {max_train: 300, max_test: 100}\n"
        "  topology: {num_devices: 6}\n"
        "  training: {extractor: {rounds: 1}, experts: {optimizer: {epochs: 1}}, gate: {rounds: 1}}\n"
        "  inference: {duration_s: 0.5, arrivals: {rate_hz: 4}}\n"
    )
    text, num_changes = re.subn(r"  inference: .*\n", small, text)
    assert num_changes == 1
    Path("reuse.yaml").write_text(text.replace("seeds: 3", "seeds: 2"))
    done = cli("sweep", "reuse.yaml", "--out", "runs/reuse", "--workers", "1", "--quiet")
    assert done.status == 0, done.err
    capsys.readouterr()
    found = follow("reuse.py")
    assert "training_time_s" in capsys.readouterr().out
    median_db = found["training"].groupby("radio.reuse_factor")["sinr_db"].median()
    assert median_db[3] > median_db[1] + 3
    training_s = found["runs"].groupby("radio.reuse_factor")["training_time_s"].mean()
    assert training_s[3] > training_s[1]


@pytest.mark.parametrize(
    ("name", "refused", "accepted"),
    [
        (
            "multi_cell",  # every cell on a channel of its own
            {
                "radio.sharing": {"kind": "csma_ca"},
                "radio.duplex": "half",
                "radio.link_adaptation": {"kind": "shannon"},
            },
            {"radio.reuse_factor": 9},
        ),
        ("wifi", {"radio.sharing": {"kind": "fdma"}}, {"radio.duplex": "full"}),
        (
            "mesh",
            {"radio.sharing": {"kind": "fdma"}, "radio.duplex": "full", "radio.sidelinks": "time_shared"},
            {"radio.sidelinks": "concurrent"},
        ),
        ("mmwave", {"radio.carrier_hz": 20e9}, {"radio.carrier_hz": 24.25e9}),
    ],
)
def test_what_is_refused_has_a_remedy(name: str, refused: dict[str, Any], accepted: dict[str, Any]) -> None:
    scenario = load_scenario(REPOSITORY / "scenarios" / f"{name}.yaml")
    with pytest.raises(InputError) as error:
        check(scenario.replace(refused))
    assert error.value.key == ("radio.bandwidth_hz" if name == "mmwave" else "radio.sharing")
    check(scenario.replace(refused | accepted))


def test_topology_of_a_file(folder: Path, cli: Callable[..., Outcome]) -> None:
    Path("street.yaml").write_text(shown("network.md", "street.yaml"))
    graph = shown("network.md", "street.json")
    Path("street.json").write_text(graph)
    checked = cli("check", "street.yaml")
    assert checked.status == 0, checked.err
    assert "3 clients, server bs0, 12 links" in checked.out
    Path("street.json").write_text(graph.replace('"target": "dev1"', '"target": "dev9"'))
    wrong = cli("check", "street.yaml")
    assert wrong.status == 2
    assert f"```text\n{wrong.err}```" in (HOW_TO / "network.md").read_text()


def test_who_holds_what(folder: Path, cli: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown("data.md", "skewed.yaml")
    base = "extends: examples/small.yaml"
    assert base in text
    Path("skewed.yaml").write_text(text.replace(base, f"extends: {REPOSITORY / 'examples' / 'small.yaml'}"))
    done = cli("run", "skewed.yaml", "--quiet", "--set", "inference.duration_s=0.5")
    assert done.status == 0, done.err
    Path("skewed.py").write_text(shown("data.md", "skewed.py"))
    tables = runpy.run_path("skewed.py")["tables"]
    assert "-48°" in capsys.readouterr().out
    assert Path("skewed.svg").stat().st_size > 5000
    held = tables["partition"].groupby("client")["num_train"].sum().sort_values(ascending=False)
    assert held.min() >= 20
    assert (held.iloc[0] - 20) / (held.iloc[-1] - 20) == pytest.approx(5**1.2, rel=0.05)


def test_the_page_on_data_knows_every_kind() -> None:
    from nmoe_sim.families import families

    page = (HOW_TO / "data.md").read_text()
    for family in ("dataset", "partition", "feature_skew"):
        for kind in families()[family]:
            assert re.search(rf"^\|[^|]*`{kind}`", page, re.MULTILINE), kind


def test_settings_of_a_federated_stage(folder: Path, cli: Callable[..., Outcome]) -> None:
    text = shown("training.md", "federated.yaml")
    base = "extends: examples/small.yaml"
    assert base in text
    Path("federated.yaml").write_text(text.replace(base, f"extends: {REPOSITORY / 'examples' / 'small.yaml'}"))
    done = cli("run", "federated.yaml", "--quiet", "--set", "inference.duration_s=0.5")
    assert done.status == 0, done.err
    rounds = load_run("runs/federated").tables["rounds"]
    rounds = rounds[rounds["stage"] == "extractor"]
    assert rounds["staleness"].max() == 1, "late updates are kept"
    assert {"not_selected", "busy", "unfinished"} <= set(rounds["reason"].dropna())


def test_the_page_on_training_knows_every_kind() -> None:
    from nmoe_sim.families import families
    from nmoe_sim.training.federation.stage import FederatedStage

    page, known = (HOW_TO / "training.md").read_text(), families()
    for family in ("protocol", "selection", "local_update", "server_update", "compression", "privacy"):
        [row] = re.findall(rf"^\| \[`{family}`\].*$", page, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == {family, *known[family]}
    [takers] = re.findall(r"each on its own; (.*?) all take them", page, re.DOTALL)
    stages = {**known["extractor_training"], **known["gate_training"]}
    assert set(re.findall(r"`(\w+)`", takers)) == {k for k, cls in stages.items() if issubclass(cls, FederatedStage)}
