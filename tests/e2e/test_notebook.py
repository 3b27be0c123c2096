"""The notebook runs from scenario to figure, and what is committed is its whole output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

nbformat = pytest.importorskip("nbformat", reason="pip install nmoe-sim[dev]")
NOTEBOOK = REPOSITORY / "notebooks" / "scenario_to_figure.ipynb"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def num_pictures(notebook: Any) -> int:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_committed_notebook_was_run_from_top_to_bottom() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert len(cells) == 10
    assert [cell.execution_count for cell in cells] == list(range(1, 11))
    assert {output.output_type for cell in cells for output in cell.outputs} == {"execute_result"}
    assert num_pictures(notebook) == 3
    text = NOTEBOOK.read_text()
    assert len(text) < 200_000
    assert not any(place in text for place in ("/home/", "/tmp/", "/root/", "/Users/"))


def test_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("NOTEBOOK_ROUNDS", "1")
    monkeypatch.setenv("NOTEBOOK_SECONDS", "2")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert num_pictures(notebook) == 3
    assert (tmp_path / "runs" / "notebook_pareto.pdf").read_bytes().startswith(b"%PDF")
