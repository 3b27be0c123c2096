"""Trajectories are functions of time, and their specs say what is wrong with a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from channels import mobility
from nmoe_sim.engine import mobility as specs
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.tree import from_python

REPOSITORY = Path(__file__).parents[2]
UNIFORM = RandomStreams(5).uniform
BOX = (-100.0, 0.0, 100.0, 50.0)
START_M = np.array([[0.0, 10.0], [-100.0, 0.0], [100.0, 50.0], [40.0, 25.0]])
TIMES_S = np.array([700.0, 0.0, 3.7, 3.7, 1234.5, 256.0, 512.0, 90.1])


def waypoint(start_m: Any = START_M, bounds_m: Any = BOX, **settings: Any) -> mobility.RandomWaypoint:
    given = {"min_speed_m_per_s": 1.0, "max_speed_m_per_s": 5.0, "pause_s": 3.0, "uniform": UNIFORM, **settings}
    return mobility.RandomWaypoint(start_m, bounds_m, **given)


def gauss_markov(start_m: Any = START_M, bounds_m: Any = BOX, **settings: Any) -> mobility.GaussMarkov:
    given = {
        "memory": 0.8,
        "mean_velocity_m_per_s": [1.0, -2.0],
        "velocity_std_m_per_s": 1.5,
        "step_s": 0.5,
        "uniform": UNIFORM,
        **settings,
    }
    return mobility.GaussMarkov(start_m, bounds_m, **given)


@pytest.mark.parametrize("make", [waypoint, gauss_markov])
def test_positions_depend_on_the_time_only(make: Callable[..., mobility.Trajectory]) -> None:
    together = make().positions_m(TIMES_S)
    assert together.shape == (8, 4, 2)
    one = make()
    for order in (np.arange(8), np.arange(8)[::-1]):
        for i in order:
            np.testing.assert_array_equal(one.positions_m(TIMES_S[i])[0], together[i])
    np.testing.assert_array_equal(together[1], START_M)
    np.testing.assert_array_equal(together[2], together[3])
    assert not np.any(together[0] == together[4])


@pytest.mark.parametrize("make", [waypoint, gauss_markov])
def test_more_nodes_change_no_path_and_nobody_leaves_the_box(make: Callable[..., mobility.Trajectory]) -> None:
    few, many = make(START_M[:2]).positions_m(TIMES_S), make().positions_m(TIMES_S)
    np.testing.assert_array_equal(few, many[:, :2])
    path_m = make().positions_m(np.linspace(0, 2000, 5001))
    assert np.all(path_m >= BOX[:2])
    assert np.all(path_m <= BOX[2:])
    assert np.ptp(path_m, axis=0).min() > 40  # they do get around


def test_nobody_jumps() -> None:
    path_m = waypoint().positions_m(np.arange(0, 300, 0.01))
    assert np.hypot(*np.diff(path_m, axis=0).T).max() <= 5.0 * 0.01 + 1e-9
    # a mirrored step is no longer than its velocity
    path_m = gauss_markov(velocity_std_m_per_s=0.0).positions_m(np.arange(0, 300, 0.01))
    assert np.hypot(*np.diff(path_m, axis=0).T).max() <= np.hypot(1, 2) * 0.01 + 1e-9


def test_a_waypoint_leg_is_straight_at_its_speed_then_a_pause() -> None:
    walk = waypoint(min_speed_m_per_s=2.0, max_speed_m_per_s=2.0)
    goal_m = np.stack([UNIFORM("waypoint", np.arange(4), 0, axis) for axis in (0, 1)], axis=1) * [200, 50] + [-100, 0]
    ride_s = np.hypot(*(goal_m - START_M).T) / 2.0
    for n in range(4):
        half, there, rest, after = walk.positions_m(ride_s[n] + np.array([-ride_s[n] / 2, 0.0, 2.999, 3.5]))[:, n]
        np.testing.assert_allclose(half, (START_M[n] + goal_m[n]) / 2)
        np.testing.assert_allclose(there, goal_m[n])
        np.testing.assert_allclose(rest, goal_m[n])
        np.testing.assert_allclose(np.hypot(*(after - goal_m[n])), 2.0 * 0.5)


def test_waypoints_on_a_line() -> None:
    path_m = waypoint([[0.0, 7.0]], (-5.0, 7.0, 5.0, 7.0)).positions_m(np.arange(0, 100, 0.5))[:, 0]
    assert set(path_m[:, 1]) == {7.0}
    assert np.ptp(path_m[:, 0]) > 5


def test_without_scatter_gauss_markov_bounces_along_a_straight_line() -> None:
    walk = gauss_markov([[0.0, 10.0]], velocity_std_m_per_s=0.0)
    x, y = walk.positions_m([10.0, 110.0, 12.25])[:, 0].T
    np.testing.assert_allclose(x, [10.0, 90.0, 12.25])  # east wall at 100 s
    np.testing.assert_allclose(y, [10.0, 10.0, 14.5])  # south wall at 5 s; 110 s are 220 m: twice to and fro, and 20 m
    assert gauss_markov(memory=1.0, velocity_std_m_per_s=0.0).positions_m(1.0).shape == (1, 4, 2)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (waypoint, {"min_speed_m_per_s": 0.0}, "speeds must rise from above 0, got 0 to 5"),
        (waypoint, {"min_speed_m_per_s": 6.0}, "speeds must rise"),
        (waypoint, {"pause_s": -1.0}, "a pause is at least 0 s, got -1"),
        (waypoint, {"start_m": [[0.0, 0.0]], "bounds_m": (0.0, 0.0, 0.0, 0.0)}, "the box is a point"),
        (waypoint, {"bounds_m": (0.0, 0.0, 10.0, 10.0)}, "starts outside the box"),
        (waypoint, {"bounds_m": (1.0, 0.0, 0.0, 10.0)}, "a box goes from west and south"),
        (gauss_markov, {"start_m": [[0.0, 0.0]], "bounds_m": (0.0, 0.0, 0.0, 1.0)}, "no room in one direction"),
        (gauss_markov, {"memory": 1.1}, "memory must be from 0 to 1"),
        (gauss_markov, {"start_m": [[np.nan, 0.0]]}, "positions must be finite"),
    ],
)
def test_senseless_motion_is_refused(make: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize("t_s", [-1.0, np.nan, [[0.0]]])
def test_senseless_times_are_refused(t_s: Any) -> None:
    with pytest.raises(ValueError, match="times must be"):
        waypoint().positions_m(t_s)


# --- traces as arrays


def test_a_trace_is_linear_between_its_rows() -> None:
    trace = mobility.Trace([[0, 10, 20], [5, 6]], [[[0, 0], [10, 0], [10, 40]], [[1, 1], [3, 5]]], hold=True)
    a, b = np.moveaxis(trace.positions_m([5.0, 10.0, 12.5, 20.0, 99.0, 0.0]), 1, 0)
    np.testing.assert_allclose(a, [[5, 0], [10, 0], [10, 10], [10, 40], [10, 40], [0, 0]])
    np.testing.assert_allclose(b, [[1, 1], [3, 5], [3, 5], [3, 5], [3, 5], [1, 1]])
    np.testing.assert_allclose(trace.positions_m(5.25)[0, 1], [1.5, 2.0])


def test_a_trace_ends_unless_it_is_held() -> None:
    trace = mobility.Trace([[0, 10], [0, 20]], np.zeros((2, 2, 2)), names=["a", "b"])
    assert trace.positions_m([0.0, 10.0]).shape == (2, 2, 2)
    with pytest.raises(ValueError, match="a has positions from 0 to 10 s, none at 11 s"):
        trace.positions_m([3.0, 11.0])
    with pytest.raises(ValueError, match="a needs at least one time, rising ones"):
        mobility.Trace([[1, 1]], np.zeros((1, 2, 2)), names=["a"])


# --- specs


def spec(kind: str, **settings: Any) -> Any:
    kinds = [specs.Static, specs.RandomWaypoint, specs.GaussMarkov, specs.Trace]
    [cls] = [one for one in kinds if one.kind == kind]
    return build_spec(cls, from_python(settings), {}, path="mobility")


NAMES = [f"dev{i}" for i in range(4)]


def test_specs_hand_their_settings_on() -> None:
    static = spec("static")
    assert static.is_static
    assert static.known_until_s == np.inf
    np.testing.assert_array_equal(static.trajectory(START_M, BOX, UNIFORM, NAMES).positions_m(7.0)[0], START_M)

    walk = spec("random_waypoint", min_speed_m_per_s=1.0, max_speed_m_per_s=5.0, pause_s=3.0)
    assert not walk.is_static
    np.testing.assert_array_equal(
        walk.trajectory(START_M, BOX, UNIFORM, NAMES).positions_m(TIMES_S), waypoint().positions_m(TIMES_S)
    )
    settings = {"memory": 0.8, "mean_speed_m_per_s": 2.0, "velocity_std_m_per_s": 1.5, "update_s": 0.5}
    north = spec("gauss_markov", mean_direction_deg=90.0, **settings).trajectory(START_M, BOX, UNIFORM, NAMES)
    expected = gauss_markov(mean_velocity_m_per_s=[0.0, 2.0]).positions_m(TIMES_S)
    np.testing.assert_allclose(north.positions_m(TIMES_S), expected, atol=1e-6)
    anywhere = spec("gauss_markov", **settings | {"velocity_std_m_per_s": 0.0})
    away_m = anywhere.trajectory(START_M[[0, 3]], BOX, UNIFORM, NAMES[:2]).positions_m(1.0)[0] - START_M[[0, 3]]
    np.testing.assert_allclose(np.hypot(*away_m.T), 2.0)
    assert abs(np.diff(np.arctan2(*away_m.T))) > 0.01


def test_specs_refuse_what_makes_no_sense() -> None:
    with pytest.raises(InputError, match=r"mobility: min_speed_m_per_s of 2 is more than max_speed_m_per_s of 1\.5"):
        spec("random_waypoint", min_speed_m_per_s=2.0)
    with pytest.raises(InputError, match=r"mobility\.min_speed_m_per_s: must be greater than 0"):
        spec("random_waypoint", min_speed_m_per_s=0.0)
    with pytest.raises(InputError, match=r"mobility\.memory"):
        spec("gauss_markov", memory=1.5)


def test_the_example_plugin_moves_on_circles() -> None:
    from nmoe_sim.families import families

    orbit = families([REPOSITORY / "examples" / "plugins" / "mobility.py"])["mobility"]["orbit"]
    start_m = np.array([[30.0, 25.0], [0.0, 35.0], [0.0, 25.0]])
    path_m = orbit(speed_m_per_s=10.0).trajectory(start_m, BOX, UNIFORM, NAMES[:3]).positions_m([0.0, 2.0, 2.01])
    np.testing.assert_allclose(path_m[0], start_m, atol=1e-2)
    np.testing.assert_allclose(np.hypot(*(path_m[1] - [0.0, 25.0]).T), [30.0, 10.0, 0.0], atol=1e-2)
    np.testing.assert_allclose(np.hypot(*(path_m[2] - path_m[1])[:2].T), 0.1, rtol=1e-4)


def test_a_box_without_room_is_an_input_error() -> None:
    line = (0.0, 0.0, 100.0, 0.0)
    for kind, wrong in (("random_waypoint", (0.0, 0.0, 0.0, 0.0)), ("gauss_markov", line)):
        with pytest.raises(InputError, match=r"^mobility: devices can't move here: the box .*; use another topology"):
            spec(kind).trajectory(np.zeros((1, 2)), wrong, UNIFORM, ["dev0"])
    spec("random_waypoint").trajectory(np.zeros((1, 2)), line, UNIFORM, ["dev0"])


ROWS = "t_s,node,x_m,y_m,note\n0,dev1,5,5,x\n10,dev0,10,0,\n0,dev0,0,0,\n20,dev1,5,25,\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_trace_file(here: Path) -> None:
    Path("walk.csv").write_text(ROWS)
    pd.read_csv("walk.csv").to_parquet("walk.parquet")
    for file in ("walk.csv", "walk.parquet", str(here / "walk.csv")):
        walk = spec("trace", file=file)
        assert walk.known_until_s == 10.0
        assert spec("trace", file=file, hold=True).known_until_s == np.inf
        path_m = walk.trajectory(START_M[:2], BOX, UNIFORM, NAMES[:2]).positions_m([5.0, 10.0, 15.0])
        np.testing.assert_allclose(path_m[:, 0], [[5, 0], [10, 0], [10, 0]])  # asked ahead of the clock
        np.testing.assert_allclose(path_m[:, 1], [[5, 10], [5, 15], [5, 20]])


def test_a_trace_of_some_devices(here: Path) -> None:
    Path("walk.csv").write_text(ROWS)
    with pytest.raises(
        InputError, match=r"^mobility\.file: walk\.csv has no row of dev2 at t_s 0; add one, or set hold"
    ):
        spec("trace", file="walk.csv").trajectory(START_M, BOX, UNIFORM, NAMES)
    held = spec("trace", file="walk.csv", hold=True).trajectory(START_M, BOX, UNIFORM, NAMES)
    np.testing.assert_allclose(held.positions_m(50.0)[0], [[10, 0], [5, 25], START_M[2], START_M[3]])
    with pytest.raises(InputError, match=r"walk\.csv has rows of 'dev1', which is no device of this topology"):
        spec("trace", file="walk.csv", hold=True).trajectory(START_M[:1], BOX, UNIFORM, NAMES[:1])


def test_the_content_of_a_trace_counts_and_the_path_does_not(here: Path) -> None:
    Path("walk.csv").write_text(ROWS)
    one = spec("trace", file="walk.csv")
    assert spec("trace", file="walk.csv", sha256=one.sha256) == one
    Path("walk.csv").write_text(ROWS + "30,dev1,0,0,\n")
    with pytest.raises(InputError, match=r"^mobility\.sha256: walk\.csv has the sha256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        spec("trace", file="walk.csv", sha256=one.sha256)
    with pytest.raises(InputError, match=r"^mobility\.file: walk\.csv: changed since the scenario was loaded"):
        _ = one.known_until_s


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "walk.csv: can't be read: Empty CSV file"),
        ("t_s,node,x_m\n0,dev0,1\n", "walk.csv: no column 'y_m'; it needs the columns t_s, node, x_m, y_m"),
        ("t_s,node,x_m,y_m\n", "walk.csv: has no rows"),
        ("t_s,node,x_m,y_m\n0,dev0,1,2\n-1,dev0,1,2\n", "walk.csv: line 3: t_s is '-1'; give a finite time"),
        ("t_s,node,x_m,y_m\n0,dev0,1,inf\n", "walk.csv: line 2: y_m is 'inf'; give a finite number of metres"),
        ("t_s,node,x_m,y_m\n0,dev0,1,2\n1,dev0,,2\n", "walk.csv: line 3: x_m is ''; give a finite number of metres"),
        ("t_s,node,x_m,y_m\n0,dev0,1,2\n1,,1,2\n", "walk.csv: line 3: node is ''; give the name of a device"),
        ("t_s,node,x_m,y_m\n1,a,1,2\n2,a,1,2\n1,a,3,4\n", "walk.csv: line 4: t_s is '1'; a has two rows of that time"),
        ("t_s,node,x_m,y_m\n0,dev0,1,2,3\n", "walk.csv: can't be read: CSV parse error"),
    ],
)
def test_a_broken_trace_is_an_error_that_names_the_line(here: Path, text: str, message: str) -> None:
    Path("walk.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        spec("trace", file="walk.csv")
    assert str(caught.value).startswith(f"mobility.file: {message}")


def test_other_broken_traces(here: Path) -> None:
    with pytest.raises(InputError, match=r"mobility\.file: gone\.csv: no such file or directory; searched from"):
        spec("trace", file="gone.csv")
    Path("walk.txt").write_text(ROWS)
    with pytest.raises(InputError, match=r"walk\.txt: it must be a \.csv or a \.parquet file"):
        spec("trace", file="walk.txt")
    frame = pd.DataFrame({"t_s": [0.0, 1.0], "node": ["a", None], "x_m": [1.0, 1.0], "y_m": [1.0, 1.0]})
    frame.to_parquet("holes.parquet")
    with pytest.raises(InputError, match=r"holes\.parquet: row 1: node is missing; give the name of a device"):
        spec("trace", file="holes.parquet")
