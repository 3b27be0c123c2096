"""Which run goes next: nothing is trained twice, and what was lost comes back later."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from nmoe_sim.sweeps.plan import Run
from nmoe_sim.sweeps.schedule import FIRST_BACKOFF_S, MAX_LOST, Schedule

ALL = ("extractor", "experts", "gate")


def run(name: str, *keys: str) -> Run:
    return Run(None, name, MappingProxyType({}), keys)  # type: ignore[arg-type]


A1, A2, A3 = (run(f"a{i}", "xa", "ea", "ga") for i in (1, 2, 3))
B1, B2 = (run(f"b{i}", "xb", "eb", "gb") for i in (1, 2))
AG = run("ag", "xa", "ea", "other gate")


def test_those_that_train_go_first_and_none_trains_what_another_does() -> None:
    schedule = Schedule([A1, A2, AG, B1, A3, B2])
    assert [schedule.take(0), schedule.take(0), schedule.take(0)] == [A1, B1, None]
    schedule.finished(A1, ALL)
    # ag trains only its gate; then those that find everything, in order
    assert [schedule.take(0) for _ in range(4)] == [AG, A2, A3, None]
    schedule.finished(B1, ALL)
    assert [schedule.take(0), schedule.take(0)] == [B2, None]
    for one in (AG, A2, A3, B2):
        assert schedule.unfinished
        schedule.finished(one, ALL)
    assert not schedule.unfinished


def test_what_is_stored_needs_no_training() -> None:
    schedule = Schedule([A1, A2, A3], stored=["xa", "ea", "ga"])
    assert [schedule.take(0) for _ in range(4)] == [A1, A2, A3, None]


def test_after_a_failure_the_next_one_trains() -> None:
    schedule = Schedule([A1, A2])
    assert [schedule.take(0), schedule.take(0)] == [A1, None]
    schedule.finished(A1, ["extractor"])
    assert schedule.take(0) == A2


def test_a_lost_run_comes_back_after_a_growing_wait_and_is_given_up_at_last() -> None:
    schedule = Schedule([A1, B1])
    now_s = 0.0
    for attempt in range(MAX_LOST - 1):
        assert schedule.take(now_s) == A1
        wait_s = schedule.lost(A1, now_s)
        assert wait_s == FIRST_BACKOFF_S * 2**attempt
        if attempt == 0:
            assert schedule.take(now_s) == B1
            schedule.finished(B1, ALL)
        assert schedule.take(now_s + 0.99 * wait_s) is None
        assert schedule.unfinished
        now_s += wait_s
    assert schedule.take(now_s) == A1
    assert schedule.lost(A1, now_s) is None
    assert not schedule.unfinished


def test_others_take_over_the_training_of_a_lost_run_meanwhile() -> None:
    schedule = Schedule([A1, A2])
    assert schedule.take(0) == A1
    assert schedule.lost(A1, 0) == FIRST_BACKOFF_S
    assert schedule.take(0) == A2
    assert schedule.take(10) is None  # due, but a2 is training what it needs
    schedule.finished(A2, ALL)
    assert schedule.take(10) == A1
    schedule.finished(A1, ALL)
    with pytest.raises(KeyError):
        schedule.finished(A1, ALL)
