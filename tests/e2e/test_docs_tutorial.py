"""The tutorial, followed to the letter: its files, its commands, its output."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pytest
from conftest import REPOSITORY, Outcome

PAGE = REPOSITORY / "docs" / "tutorial.md"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
INSTALLING = ("make ", ". ")
TOLERANCE = 0.05
"""Training sums in another order on another machine."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be saved as, its text."""

    language: str
    file: str | None
    text: str


def blocks() -> list[Block]:
    return [Block(*match.groups()) for match in FENCE.finditer(PAGE.read_text())]


def expectations() -> Iterator[tuple[str, str | None]]:
    """Every command with the output the page shows for it."""
    all_blocks = blocks()
    for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=True):
        if block.language == "console":
            [line] = block.text.splitlines()
            command = line.removeprefix("$ ")
            if not command.startswith(INSTALLING):
                yield command, after.text if after is not None and after.language == "text" else None


def same(shown: str, printed: str) -> bool:
    """Whether two outputs agree in words, and in numbers up to the tolerance."""
    texts = [re.sub(r"run [0-9a-f]{12}-", "run ", text) for text in (shown, printed)]
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in texts]
    words = [NUMBER.sub("#", text).split() for text in texts]
    return words[0] == words[1] and numbers[1] == pytest.approx(numbers[0], rel=TOLERANCE, abs=0.02)


def test_the_comparison_can_fail() -> None:
    assert same("p50  4.64 ms, run 0123456789ab-s1", "p50 4.65 ms, run ba9876543210-s1")
    assert not same("p50 4.64 ms", "p50 5.64 ms")
    assert not same("p50 4.64 ms", "p95 4.64 ms")


def test_tutorial(
    folder: Path, cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matplotlib.use("agg")
    shutil.copytree(REPOSITORY / "scenarios", folder / "scenarios")
    for block in blocks():
        if block.file is not None:
            (folder / block.file).write_text(block.text)
    commands = list(expectations())
    assert len(commands) == 7
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        if program == "python":
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
            outcome = Outcome(0, capsys.readouterr().out, "")
        else:
            assert program == "nmoe-sim"
            outcome = cli(*arguments)
        printed = outcome.out + outcome.err
        if shown is None:
            assert outcome.status == 0, printed
        else:
            assert outcome.status == (2 if shown.startswith("error:") else 0)
            assert same(shown, printed), f"$ {command}\n{printed}"
    assert "<svg" in (folder / "latency.svg").read_text()
