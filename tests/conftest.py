"""What several tiers need: a scenario that runs in a blink, the command, and files to feed it."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from ruamel.yaml import YAML

from nmoe_sim import Scenario, build_scenario
from nmoe_sim.cli import main

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

REPOSITORY = Path(__file__).parents[1]

TINY = """\
name: tiny
seed: 3
data: {kind: digits, max_train: 120, max_test: 60, partition: {kind: iid}}
topology: {kind: cell, num_devices: 3}
model: {extractor: {kind: mlp, hidden: [8], num_features: 8}, expert: {hidden: [4]}}
training:
  extractor: {kind: fedce, rounds: 1}
  experts: {optimizer: {epochs: 2}}
  gate: {kind: fedgate, rounds: 1}
inference: {duration_s: 3, deadline_s: 0.05, arrivals: {kind: poisson, rate_hz: 2}}
"""


def tiny_scenario(changes: Mapping[str, Any] | None = None) -> Scenario:
    """The same scenario in Python, with changes by dotted keys."""
    return build_scenario(YAML(typ="safe", pure=True).load(TINY)).replace(changes or {})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    where = tmp_path / "here"
    where.mkdir()
    monkeypatch.chdir(where)
    return where


@pytest.fixture
def tiny(folder: Path) -> Path:
    """A scenario file in the working directory that runs within half a second."""
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return path


def listing(folder: Path) -> dict[str, str]:
    """Every path below a folder with a digest of what is there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: object
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*arguments: str) -> Outcome:
        try:
            status: object = main(arguments)
        except SystemExit as exit:  # argparse
            status = exit.code
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


def popen(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, python: str = "-m nmoe_sim"
) -> subprocess.Popen[str]:
    """Start Python in another process; by default it is the command."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.Popen(
        [sys.executable, *python.split(" ", 1), *arguments],
        cwd=cwd,
        env={**clean, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, python: str = "-m nmoe_sim"
) -> Outcome:
    """Run Python in another process to its end; by default it is the command."""
    process = popen(*arguments, cwd=cwd, environment=environment, python=python)
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()  # what hangs must not outlive its test
    return Outcome(process.returncode, out, err)


@pytest.fixture(scope="session")
def fashion_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Fashion-MNIST's four files, with 120 and 60 images of ten patterns that can be learnt."""
    folder = tmp_path_factory.mktemp("fashion")
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, size=(10, 28, 28))
    for stem, count, packed in (("train", 120, True), ("t10k", 60, False)):
        labels = rng.permutation(np.arange(count) % 10)
        images = np.clip(patterns[labels] + rng.integers(0, 56, size=(count, 28, 28)), 0, 255)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            content += array.astype(np.uint8).tobytes()
            name = f"{stem}-{kind}-ubyte"
            (folder / f"{name}.gz" if packed else folder / name).write_bytes(
                gzip.compress(content) if packed else content
            )
    return folder
