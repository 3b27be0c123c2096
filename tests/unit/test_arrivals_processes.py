"""Every arrival process of the family: what any of them must keep, and the settings of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nmoe_sim import InputError, build_scenario
from nmoe_sim.families import families
from nmoe_sim.inference.arrivals import Deterministic, Diurnal, Mmpp, Poisson, Trace
from nmoe_sim.rng import RandomStreams

KINDS = ["poisson", "poisson_list", "deterministic", "random_offset", "diurnal", "mmpp", "mmpp_list", "trace", "loop"]


@pytest.fixture
def process(request: pytest.FixtureRequest, folder: Any) -> Any:
    (folder / "load.csv").write_text("t_s,client\n0.5,dev1\n0,0\n3.25,1\n0.5,1\n")
    return {
        "poisson": Poisson(rate_hz=3.0),
        "poisson_list": Poisson(rate_hz=(0.0, 3.0, 1.0)),
        "deterministic": Deterministic(rate_hz=0.7, offset_s=(0.0, 1.3, 40.0)),
        "random_offset": Deterministic(rate_hz=0.7, offset_s="random"),
        "diurnal": Diurnal(rate_hz=2.0, amplitude=0.9, period_s=20.0, peak_s=5.0),
        "mmpp": Mmpp(rates_hz=(0.0, 4.0, 10.0), mean_sojourn_s=(2.0, 1.0, 0.5)),
        "mmpp_list": Mmpp(rate_hz=(1.0, 0.0, 4.0)),
        "trace": Trace(file="load.csv"),
        "loop": Trace(file="load.csv", repeat=True, length_s=4.0, speedup=2.0),
    }[request.param]


def test_the_kinds_above_are_the_family() -> None:
    assert set(families()["arrivals"]) == {"poisson", "deterministic", "diurnal", "mmpp", "trace"}


@pytest.mark.parametrize("process", KINDS, indirect=True)
@pytest.mark.parametrize("client", [0, 1, 2])
def test_times_are_a_prefix_of_those_of_a_longer_run(process: Any, client: int) -> None:
    longest_s = process.times_s(client, 300.0, RandomStreams(5))
    assert np.all(np.diff(longest_s) >= 0)
    for duration_s in (1e-3, 0.5, 3.0, 17.7, 100.0, 300.0):
        times_s = process.times_s(client, duration_s, RandomStreams(5))
        assert np.all((times_s >= 0) & (times_s < duration_s))
        np.testing.assert_array_equal(times_s, longest_s[longest_s < duration_s])


@pytest.mark.parametrize("process", ["poisson", "random_offset", "diurnal", "mmpp"], indirect=True)
def test_clients_and_seeds_draw_apart(process: Any) -> None:
    one = process.times_s(0, 50.0, RandomStreams(1))
    assert not np.isin(one, process.times_s(1, 50.0, RandomStreams(1))).any()
    assert not np.isin(one, process.times_s(0, 50.0, RandomStreams(2))).any()


@pytest.mark.parametrize(
    "process",
    [
        Poisson(rate_hz=(1.0, 2.0)),
        Deterministic(rate_hz=(1.0, 2.0)),
        Diurnal(rate_hz=(1.0, 2.0), period_s=9.0),
        Mmpp(rate_hz=(1.0, 2.0)),
    ],
)
def test_a_list_of_rates_is_by_client(process: Any) -> None:
    assert [process.mean_rate_hz(i) for i in (0, 1)] == [1.0, 2.0]
    process.check(2, 1.0)
    with pytest.raises(InputError, match=r"^inference\.arrivals\.rate_hz: a list of 2 has none for client 2; give one"):
        process.mean_rate_hz(2)
    with pytest.raises(InputError, match=r"^inference\.arrivals\.rate_hz: a list of 2 for 1 clients; give one"):
        process.check(1, 1.0)


def test_the_rate_of_a_list_gives_the_times_of_that_rate_alone() -> None:
    streams = RandomStreams(3)
    np.testing.assert_array_equal(
        Poisson(rate_hz=(9.0, 2.0)).times_s(1, 30.0, streams), Poisson(rate_hz=2.0).times_s(1, 30.0, streams)
    )


def test_deterministic_times() -> None:
    process = Deterministic(rate_hz=4.0, offset_s=(0.0, 0.1))
    np.testing.assert_allclose(process.times_s(0, 1.0, RandomStreams(0)), [0.0, 0.25, 0.5, 0.75], rtol=1e-12)
    np.testing.assert_allclose(process.times_s(1, 1.0, RandomStreams(0)), [0.1, 0.35, 0.6, 0.85], rtol=1e-12)
    assert process.times_s(1, 0.1, RandomStreams(0)).size == 0
    with pytest.raises(InputError, match=r"^inference\.arrivals\.offset_s: a list of 2 for 3 clients"):
        process.check(3, 1.0)


def test_too_many_changes_of_state_are_an_error() -> None:
    process = Mmpp(mean_sojourn_s=(1e-6, 1e-6))
    process.check(1, 10.0)
    for provoke in (lambda: process.check(1, 1e6), lambda: process.times_s(0, 1e6, RandomStreams(0))):
        with pytest.raises(InputError, match=r"^inference\.arrivals\.mean_sojourn_s: 1e\+12 changes of state"):
            provoke()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate_hz": 0}, "rate_hz: must be greater than 0, got 0"),
        ({"rate_hz": []}, "rate_hz: nobody asks anything"),
        ({"rate_hz": [0, 0.0]}, "rate_hz: nobody asks anything"),
        ({"rate_hz": [1, -2]}, "rate_hz: client 1 has -2; give each client at least 0"),
        ({"rate_hz": [1, "2"]}, "rate_hz: must be a number"),
        ({"rate_hz": "2"}, "rate_hz: must be a number"),
        ({"kind": "deterministic", "offset_s": -1}, "offset_s: must be at least 0"),
        ({"kind": "deterministic", "offset_s": [-1]}, "offset_s: client 0 has -1"),
        ({"kind": "diurnal", "period_s": 9, "amplitude": 1.1}, "amplitude: must be at most 1"),
        ({"kind": "diurnal"}, "period_s: missing; it must be given"),
        ({"kind": "mmpp", "rates_hz": [1]}, "rates_hz"),
        ({"kind": "mmpp", "rates_hz": [1, 2, 3]}, "arrivals: 3 rates_hz and 2 mean_sojourn_s; give one of each"),
        ({"kind": "mmpp", "rates_hz": [0, 0]}, "arrivals: no state asks anything"),
        ({"kind": "trace"}, "file: missing; it must be given"),
    ],
)
def test_a_wrong_setting_is_an_input_error(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_scenario({"name": "a", "inference": {"arrivals": settings}})
    assert str(caught.value).startswith("inference.arrivals")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "poisson", "rate_hz": [1, 2.5]},
        {"kind": "deterministic", "rate_hz": 2, "offset_s": [0, 1]},
        {"kind": "deterministic", "offset_s": "random"},
        {"kind": "diurnal", "period_s": 86400, "peak_s": 3600},
        {"kind": "mmpp", "rates_hz": [0, 1, 2], "mean_sojourn_s": [1, 2, 3], "rate_hz": 2},
    ],
)
def test_a_scenario_reads_its_own_resolved_settings(settings: Mapping[str, Any]) -> None:
    scenario = build_scenario({"name": "a", "inference": {"arrivals": settings}})
    assert build_scenario(scenario.resolved()) == scenario
    assert scenario.replace({"inference.arrivals.kind": "poisson"}).inference.arrivals.kind == "poisson"
