"""How many samples of each link a run keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_scenario

from nmoe_sim.checks import check
from nmoe_sim.engine import link_samples
from nmoe_sim.engine.simulation import Simulation
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.scenario import Scenario


def links_of(scenario: Scenario) -> pd.DataFrame:
    layout = check(scenario)
    simulation = Simulation.build(layout.topology, layout.profiles, scenario.radio, RandomStreams(scenario.seed))
    simulation.env.run(until=10.0)
    link_samples.record_links(simulation)
    return simulation.recorder.arrow("links").to_pandas()


def test_samples_are_spread_over_the_run() -> None:
    links = links_of(tiny_scenario())
    assert set(links.groupby(["src", "dst"]).size()) == {200}
    t_s = links["t_s"].unique()
    assert (t_s[0], t_s[-1]) == (0.0, pytest.approx(10.0))
    assert np.diff(t_s).max() < 2.01 * np.diff(t_s).min()


@pytest.mark.parametrize(("most", "expected"), [(60, 10), (65, 10), (5, 1)])
def test_many_links_have_fewer_samples(monkeypatch: pytest.MonkeyPatch, most: int, expected: int) -> None:
    monkeypatch.setattr(link_samples, "MAX_ROWS", most)
    links = links_of(tiny_scenario())
    assert set(links.groupby(["src", "dst"]).size()) == {expected}
    assert len(links) == 6 * expected


def test_gains_that_never_change_are_sampled_once() -> None:
    links = links_of(tiny_scenario({"radio.fading": {"kind": "none"}}))
    assert links["t_s"].tolist() == [0.0] * 6
