"""Critical paths of requests worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import BrokenPathError, critical_path, latency_breakdown

COLUMNS = {
    "requests": ["request_id", "client", "t_arrival_s", "t_done_s"],
    "compute": ["request_id", "kind", "device", "t_ready_s", "t_start_s", "t_end_s"],
    "transfers": ["request_id", "kind", "src", "dst", "t_ready_s", "t_start_s", "t_end_s", "airtime_s"],
}
MORE = {"hop": 0, "attempt": 0, "tail_s": 0.0, "outcome": "delivered"}


def tables(*, requests: list[tuple], compute: list[tuple], transfers: list[tuple] = ()) -> dict[str, pd.DataFrame]:
    rows: dict[str, Any] = {"requests": requests, "compute": compute, "transfers": transfers}
    frames = {name: pd.DataFrame(list(rows[name]), columns=columns) for name, columns in COLUMNS.items()}
    for name in ("compute", "transfers"):
        frames[name]["request_id"] = frames[name]["request_id"].astype("Int64")
    hops = frames["transfers"]
    hops = hops.assign(transfer_id=range(len(hops)), payload_id=hops["kind"].map({"features": 0, "output": 1}))
    frames["transfers"] = hops.assign(**{name: [value] * len(hops) for name, value in MORE.items()})
    return frames


# a asks at 1 s. Its own expert is done at 4 s, after a wait of 1 s; b's output comes at 6 s through bs.
TWO_EXPERTS = {
    "requests": [(0, "a", 1.0, 7.0), (1, "b", 1.0, float("nan"))],
    "compute": [
        (0, "features", "a", 1.0, 1.0, 1.5),
        (0, "gate", "a", 1.5, 1.5, 2.0),
        (0, "expert", "a", 2.0, 3.0, 4.0),
        (0, "expert", "b", 3.0, 3.5, 3.75),
        (0, "combine", "a", 6.0, 6.5, 7.0),
        (None, "local_train", "a", 6.0, 6.0, 6.5),
        (1, "features", "b", 1.0, 1.0, 3.5),
    ],
    "transfers": [
        (0, "features", "a", "bs", 2.0, 2.125, 2.5, 0.25),
        (0, "features", "bs", "b", 2.5, 2.625, 3.0, 0.375),
        (0, "output", "b", "bs", 3.75, 4.0, 5.0, 0.5),
        (0, "output", "bs", "a", 5.0, 5.25, 6.0, 0.75),
    ],
}


def kinds(path: list) -> list[tuple[str, str, float]]:
    return [(span.kind, span.dst, span.duration_s) for span in path]


def test_the_path_goes_through_what_came_last() -> None:
    path = critical_path(tables(**TWO_EXPERTS), 0)
    assert kinds(path) == [
        ("features", "a", 0.5),
        ("gate", "a", 0.5),
        ("features", "bs", 0.5),
        ("features", "b", 0.5),
        ("expert", "b", 0.75),
        ("output", "bs", 1.25),
        ("output", "a", 1.0),
        ("combine", "a", 1.0),
    ]
    assert sum(span.duration_s for span in path) == 6.0
    assert path[0].t_ready_s == 1.0
    assert path[-1].t_end_s == 7.0


def test_the_breakdown_adds_up_to_the_latency() -> None:
    breakdown = latency_breakdown(tables(**TWO_EXPERTS))
    assert list(breakdown.index) == [0]
    assert breakdown.loc[0].to_dict() == {
        "queue_s": 0.5 + 0.5,
        "access_s": 0.125 + 0.125 + 0.25 + 0.25,
        "recovery_backoff_s": 0.0,
        "recovery_failed_s": 0.0,
        "recovery_interruption_s": 0.0,
        "delay_harq_s": 0.0,
        "delay_wire_s": 0.0,
        "deadline_s": 0.0,
        "airtime_features_s": 0.25 + 0.375,
        "airtime_output_s": 0.5 + 0.75,
        "compute_combine_s": 0.5,
        "compute_expert_s": 0.25,
        "compute_features_s": 0.5,
        "compute_gate_s": 0.5,
        "sharing_features_s": 0.125,
        "sharing_output_s": 0.5,
    }
    assert breakdown.loc[0].sum() == 6.0


def test_waiting_until_the_deadline_is_a_span() -> None:
    # b's output doesn't come in time: a's own, done at 4 s, is combined at 5.5 s.
    late = {
        **TWO_EXPERTS,
        "requests": [(0, "a", 1.0, 5.75)],
        "compute": [*TWO_EXPERTS["compute"][:4], (0, "combine", "a", 5.5, 5.5, 5.75)],
    }
    path = critical_path(tables(**late), 0)
    assert kinds(path) == [
        ("features", "a", 0.5),
        ("gate", "a", 0.5),
        ("expert", "a", 2.0),
        ("deadline", "a", 1.5),
        ("combine", "a", 0.25),
    ]
    assert latency_breakdown(tables(**late)).at[0, "deadline_s"] == 1.5


def test_spans_without_length_are_kept_and_walked_once() -> None:
    instant = tables(
        requests=[(0, "a", 1.0, 2.0)],
        compute=[
            (0, "features", "a", 1.0, 1.0, 2.0),
            (0, "gate", "a", 2.0, 2.0, 2.0),
            (0, "expert", "a", 2.0, 2.0, 2.0),
            (0, "combine", "a", 2.0, 2.0, 2.0),
        ],
    )
    path = critical_path(instant, 0)
    assert sorted(span.kind for span in path) == ["combine", "expert", "features", "gate"]
    assert sum(span.duration_s for span in path) == 1.0


def test_a_request_without_an_answer_has_no_path() -> None:
    assert critical_path(tables(**TWO_EXPERTS), 1) == []


def test_an_unknown_request_is_an_error() -> None:
    with pytest.raises(KeyError, match="no request 5"):
        critical_path(tables(**TWO_EXPERTS), 5)


def test_a_missing_hop_breaks_the_path() -> None:
    frames = tables(**TWO_EXPERTS)
    frames["transfers"] = frames["transfers"].drop(index=1)
    with pytest.raises(BrokenPathError, match=r"nothing ended on b at 3\.0 s"):
        critical_path(frames, 0)
    with pytest.raises(BrokenPathError, match="request 0"):
        latency_breakdown(frames)


def test_an_answer_that_nothing_triggered_is_broken() -> None:
    frames = tables(**TWO_EXPERTS)
    frames["requests"].loc[0, "t_done_s"] = 8.0
    with pytest.raises(BrokenPathError, match=r"nothing ended on a at 8\.0 s"):
        critical_path(frames, 0)


def test_a_path_that_begins_before_the_arrival_is_broken() -> None:
    frames = tables(**TWO_EXPERTS)
    frames["requests"].loc[0, "t_arrival_s"] = 1.25
    with pytest.raises(BrokenPathError, match="not to its arrival"):
        critical_path(frames, 0)


def one_request(outcome: float, *transfers: tuple) -> dict[str, pd.DataFrame]:
    """a asks b's expert; transfers are (kind, src, dst, ready, start, end, airtime, hop, attempt, tail, outcome)."""
    jobs = [(0, "gate", "a", 0.0, 0.0, 1.0), (0, "expert", "a", 1.0, 1.0, 2.0), (0, "expert", "b", 5.0, 5.0, 6.0)]
    jobs.append((0, "combine", "a", outcome, outcome, outcome + 0.5))
    frames = tables(
        requests=[(0, "a", 0.0, outcome + 0.5)], compute=jobs, transfers=[(0, *row[:7]) for row in transfers]
    )
    for i, name in enumerate(MORE):
        frames["transfers"][name] = [row[7 + i] for row in transfers]
    return frames


BACK = ("output", "b", "a", 6.0, 6.5, 9.0, 1.0, 0, 0, 0.5, "delivered")


def test_an_attempt_that_failed_and_the_pause_after_it_are_spans() -> None:
    frames = one_request(
        9.0,
        ("features", "a", "b", 1.0, 1.25, 2.0, 0.5, 0, 0, 0.0, "link_down"),
        ("features", "a", "b", 2.0, 4.0, 5.0, 0.75, 0, 1, 0.0, "delivered"),
        BACK,
    )
    frames["handovers"] = pd.DataFrame({"device": ["b", "c"], "t_s": [2.0, 2.0], "interruption_s": [1.5, 1.75]})
    path = critical_path(frames, 0)
    assert [(span.what, span.kind, span.attempt) for span in path] == [
        ("compute", "gate", 0),
        ("failed", "features", 0),
        ("transfer", "features", 1),
        ("compute", "expert", 0),
        ("transfer", "output", 0),
        ("compute", "combine", 0),
    ]
    parts = latency_breakdown(frames).loc[0]
    assert parts.sum() == 9.5
    assert parts[parts != 0].to_dict() == {
        "access_s": 0.25 + 0.5,
        "recovery_backoff_s": 0.5,
        "recovery_failed_s": 0.75,
        "recovery_interruption_s": 1.5,
        "delay_harq_s": 0.5,
        "airtime_features_s": 0.75,
        "airtime_output_s": 1.0,
        "compute_combine_s": 0.5,
        "compute_expert_s": 1.0,
        "compute_gate_s": 1.0,
        "sharing_features_s": 0.25,
        "sharing_output_s": 1.0,
    }
    without = {"transfers": frames["transfers"].drop(index=0), "compute": frames["compute"].drop(index=1)}
    with pytest.raises(BrokenPathError, match=r"nothing ended on a at 2\.0 s"):
        critical_path({**frames, **without}, 0)


def test_a_route_taken_at_once_is_one_span() -> None:
    none = float("nan")
    frames = one_request(
        9.0,
        ("features", "a", "x", 1.0, 2.0, 5.0, 0.5, 0, 0, 0.25, "delivered"),
        ("features", "x", "y", 1.0, 2.0, 5.0, none, 1, 0, 0.125, "delivered"),
        ("features", "y", "b", 1.0, 2.0, 5.0, 1.5, 2, 0, 0.0, "delivered"),
        BACK,
    )
    path = critical_path(frames, 0)
    assert [(span.kind, span.src, span.dst) for span in path[1:3]] == [("features", "a", "b"), ("expert", "b", "b")]
    parts = path[1].parts_s()
    assert parts["airtime_features_s"] == 1.5, "its busiest hop"
    assert (parts["delay_harq_s"], parts["delay_wire_s"]) == (0.25, 0.125)
    assert sum(parts.values()) == path[1].duration_s == 4.0


def test_a_hop_over_a_wire_is_delay() -> None:
    none = float("nan")
    frames = one_request(9.0, ("features", "a", "b", 1.0, 1.0, 5.0, none, 0, 0, 3.0, "delivered"), BACK)
    assert latency_breakdown(frames).at[0, "delay_wire_s"] == 4.0


def test_an_answer_combined_because_another_was_given_up_waited_for_that() -> None:
    frames = one_request(
        8.0,
        ("features", "a", "b", 1.0, 1.5, 5.0, 1.0, 0, 0, 0.0, "delivered"),
        ("output", "b", "a", 6.0, 6.5, 8.0, 1.0, 0, 0, 0.5, "lost"),
    )
    path = critical_path(frames, 0)
    assert [(span.what, span.kind) for span in path[-2:]] == [("failed", "output"), ("compute", "combine")]
    parts = latency_breakdown(frames).loc[0]
    assert (parts["recovery_failed_s"], parts["deadline_s"], parts.sum()) == (1.5, 0.0, 8.5)


def test_no_requests_no_rows() -> None:
    breakdown = latency_breakdown(tables(requests=[], compute=[]))
    assert breakdown.shape == (0, 8)
    assert breakdown.to_numpy().dtype == np.float64
