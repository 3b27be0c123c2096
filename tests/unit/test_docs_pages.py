"""What the pages say is so: their code, their commands, and what is made from declarations."""

from __future__ import annotations

import doctest
import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from nmoe_sim.cli import _parser
from nmoe_sim.families import families
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.scenario import InferenceSection, ModelSection, RadioSection, TrainingSection
from nmoe_sim.scenario.slots import slots

sys.path.insert(0, str(REPOSITORY / "docs"))

import gallery
import generate

PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
SECTIONS = {"radio": RadioSection, "model": ModelSection, "training": TrainingSection, "inference": InferenceSection}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sessions_give_what_is_shown(page: Path) -> None:
    sessions = re.findall(r"^```python\n(>>> .*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    test = doctest.DocTestParser().get_doctest("\n".join(sessions), {}, page.name, str(page), 0)
    assert doctest.DocTestRunner().run(test).failed == 0
    assert bool(test.examples) == (page.stem == "physics")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_commands(page: Path) -> None:
    commands = re.findall(r"^\$ (?:\S*/)?nmoe-sim (.*?)(?: +#.*)?$", page.read_text(), re.MULTILINE)
    for command in commands:
        options = _parser().parse_args(shlex.split(command))
        for path in [*getattr(options, "plugin", []), getattr(options, "scenario", "")]:
            if isinstance(path, str) and path.startswith("examples/"):
                assert (REPOSITORY / path).is_file(), command


def test_every_extension_point_is_on_a_page() -> None:
    pages = "".join(page.read_text() for page in PAGES if page.parent.name == "how-to")
    for family in families():
        for suffix in ("py", "yaml"):
            assert f'--8<-- "examples/plugins/{family}.{suffix}"' in pages
        assert f"--plugin examples/plugins/{family}.py" in pages


def test_every_column_is_on_the_page_of_tables() -> None:
    page = generate.tables_page()
    for name, table in TABLES.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for column in table.columns:
            [row] = [line for line in section.splitlines() if line.startswith(f"| `{column.name}`")]
            assert ("**key**" in row) == (column.name in table.key)
            assert f"| `{column.dtype}` | {column.unit} | {'yes' if column.nullable else ''} |" in row
            assert column.meaning.replace("|", "\\|") in row


def test_every_key_is_on_the_page_of_scenarios() -> None:
    page = generate.scenario_page()
    for name, section in SECTIONS.items():
        text = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        nested = {key for key, slot in slots(section).items() if slot.section is not None}
        rows = {key: f"\n| `{key}." if key in nested else f"\n| `{key}` |" for key in section.model_fields}
        assert [key for key, row in rows.items() if row not in text] == []
    assert "Undefined" not in page
    assert "\n| `grid` | mapping | `{}` |" in page.split("\n## Sweep files\n")[1]
    for family, kinds in families().items():
        for kind, cls in kinds.items():
            text = page.split(f"{{ #{family}-{kind} }}\n")[1].split("\n###")[0]
            nested = {name for name, slot in slots(cls).items() if slot.section is not None}
            for key in cls.model_fields:
                assert f"\n| `{key}.".replace("\n", "") in text if key in nested else f"| `{key}` |" in text


def test_types_and_defaults_in_words() -> None:
    page = generate.scenario_page()
    for row in (
        "| `bandwidth_hz` | number > 0, ≤ 1e11 | `2e7` | Bandwidth of each medium",
        "| `duplex` | `full`, `half` | `full` |",
        "| `path_loss` | family [path_loss](#path_loss) | `tr38901_umi` |",
        "| `devices` | list of family [device_profile](#device_profile) | none |",
        "| `deadline_s` | number > 0 or null | `null` |",
        "| `optimizer.lr` | number > 0 | `0.03` |",  # FedSC's own default, not Optimizer's
        "| `hidden` | list of integer ≥ 1, ≤ 65,536 | `[64]` |",
    ):
        assert row in page


def test_every_command_is_on_its_page() -> None:
    page = generate.command_line_page()
    for command in ("run", "check", "coverage", "place", "sweep", "report", "trace", "data", "schema", "scenarios"):
        assert f"## {command}\n\n```text\nusage: nmoe-sim {command}" in page


def test_errors_are_those_the_loader_gives() -> None:
    page = generate.errors_page()
    assert "error: mine.yaml:3:3: radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?" in page
    assert page.count("error: mine.yaml:") == len(generate.MISTAKES)
    assert "/tmp" not in page


def test_every_figure_is_in_the_gallery() -> None:
    from analysis import figures

    functions = {name for name in figures.__all__ if callable(getattr(figures, name))} - {
        "paper_style",
        "save",
    }  # those that draw
    assert set(gallery.FIGURES) == functions
    for _, code in gallery.FIGURES.values():
        assert len(code.splitlines()) == 3
