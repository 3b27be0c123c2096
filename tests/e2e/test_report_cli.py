"""The commands report and trace, from the shell's side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, Outcome

from nmoe_sim.cli import main

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(TINY)
    for seed in ("1", "2"):
        arguments = ["--seed", seed, "--out", str(folder / seed), "--quiet"]
        assert main(["run", str(folder / "tiny.yaml"), *arguments]) == 0
    return folder


def test_report_of_a_run_is_in_its_directory(cli: Cli, runs: Path) -> None:
    outcome = cli("report", str(runs / "1"))
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"report: {runs / '1' / 'report.html'}\n"
    html = (runs / "1" / "report.html").read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert "confidence interval" not in html.split("<script")[0]


def test_report_of_several_runs_is_beside_them(cli: Cli, runs: Path) -> None:
    outcome = cli("report", str(runs / "1"), str(runs / "2"), str(runs / "1"))
    assert (outcome.status, outcome.err) == (0, "")
    text = (runs / "report.html").read_text().split("<script")[0]
    assert "2 seeds" in text, "a run named twice counts once"
    assert "confidence interval" in text


def test_report_goes_where_it_is_told(cli: Cli, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    assert cli("report", str(runs / "2"), "--out", str(out)).status == 0
    assert out.exists()


@pytest.mark.parametrize("command", ["report", "trace"])
@pytest.mark.parametrize("case", ["missing", "empty", "unfinished", "foreign", "out"])
def test_what_is_no_finished_run_is_one_line(cli: Cli, runs: Path, tmp_path: Path, command: str, case: str) -> None:
    where = tmp_path / "run"
    if case != "missing":
        where.mkdir()
    if case == "unfinished":
        (where / "scenario.yaml").write_text("name: x\n")
    if case == "foreign":
        (where / "manifest.json").write_text("[1, 2]")
    arguments = [str(runs / "1"), "--out", str(where)] if case == "out" else [str(where)]
    outcome = cli(command, *arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {where}: ")
    assert outcome.err.count("\n") == 1
    assert not list(where.glob("*.html"))


def test_trace_is_in_the_runs_directory_and_whole(cli: Cli, runs: Path) -> None:
    outcome = cli("trace", str(runs / "1"))
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"trace: {runs / '1' / 'trace.json'} (")
    assert json.loads((runs / "1" / "trace.json").read_text())["traceEvents"]


def test_trace_says_what_it_leaves_out(cli: Cli, runs: Path, tmp_path: Path) -> None:
    outcome = cli("trace", str(runs / "1"), "--out", str(tmp_path / "t.json"), "--max-events", "10")
    assert outcome.status == 0
    assert "warning: " in outcome.err
    assert "left out by the most events: the trace begins at 0.001 s and ends at" in outcome.err
    window = cli("trace", str(runs / "1"), "--out", str(tmp_path / "t.json"), "--to-s", "0.1")
    assert "left out by the window" in window.err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--from-s", "x", "must be a number of seconds, got 'x'"),
        ("--to-s", "nan", "must be a number of seconds, got 'nan'"),
        ("--max-events", "0", "must be a whole number from 1, got '0'"),
    ],
)
def test_trace_options_are_checked(cli: Cli, runs: Path, option: str, value: str, message: str) -> None:
    outcome = cli("trace", str(runs / "1"), option, value)
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: argument {option}: {message}")
