"""Every extension point has an example, and every example runs as its page says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from nmoe_sim import load_run, load_scenario, run
from nmoe_sim.families import families

PLUGINS = REPOSITORY / "examples" / "plugins"
BUILT_IN = families()
DIGEST_FREE = ("run_id", "scenario")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The tables of the scenario that the examples extend."""
    out = tmp_path_factory.mktemp("base") / "run"
    return run(load_scenario(REPOSITORY / "examples" / "small.yaml"), out).tables


def test_every_extension_point_has_an_example() -> None:
    assert {path.stem for path in PLUGINS.glob("*.py")} == set(BUILT_IN)
    assert {path.stem for path in PLUGINS.glob("*.yaml")} == set(BUILT_IN)


@pytest.mark.parametrize("family", sorted(BUILT_IN))
def test_example_runs_and_makes_a_difference(family: str, base: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    plugin = PLUGINS / f"{family}.py"
    with_it = families([plugin])
    [added] = set(with_it[family]) - set(BUILT_IN[family])
    assert {name: set(kinds) for name, kinds in with_it.items() if name != family} == {
        name: set(kinds) for name, kinds in BUILT_IN.items() if name != family
    }
    scenario = load_scenario(PLUGINS / f"{family}.yaml", plugins=[plugin])
    assert added in scenario.to_yaml()
    run(scenario, tmp_path / "run")
    tables = load_run(tmp_path / "run").tables
    changed = {name for name in tables if name != "summary" and not tables[name].equals(base[name])}
    assert changed, f"a run with {added} is no other than one without"
    requests = tables["requests"]
    assert len(requests)
    completed = requests["outcome"] == "completed"
    if family == "faults":  # who is away neither asks nor answers
        assert {"failed", "client_down"} >= set(requests["outcome"][~completed])
    else:
        assert completed.all()
    assert np.isfinite(requests["latency_s"][completed]).all()
