"""Which run comes next: those that train first, and never two that train the same at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from nmoe_sim.sweeps.plan import STAGES, Run

MAX_LOST = 5
"""Workers that may die of a run before it is given up."""
FIRST_BACKOFF_S = 0.5
"""Wait before a run whose worker died is tried again; doubles each time."""


class Schedule:
    """The runs that are still to do.

    A run holds the values it may have to compute while it is under way; another that needs one of them
    waits until they are stored, and then takes them from there.

    Parameters
    ----------
    runs : iterable of Run
        Runs to do, in the order of the plan.
    stored : iterable of str
        Stage keys whose values are stored already.
    """

    def __init__(self, runs: Iterable[Run], stored: Iterable[str] = ()) -> None:
        self._stored = set(stored)
        self._held: set[str] = set()
        self._training: list[Run] = []
        self._ready: list[Run] = []
        self._delayed: list[tuple[float, Run]] = []
        self._under_way: dict[str, Run] = {}
        self._times_lost: dict[str, int] = {}
        for run in runs:
            (self._training if self._needs(run) else self._ready).append(run)
        self._ready.reverse()

    @property
    def unfinished(self) -> bool:
        """Whether any run is still to do or under way."""
        return bool(self._training or self._ready or self._delayed or self._under_way)

    @property
    def num_under_way(self) -> int:
        """Runs under way."""
        return len(self._under_way)

    def take(self, now_s: float) -> Run | None:
        """Return the next run, now under way; None when all that are left have to wait."""
        for due_s, run in self._delayed:
            if due_s <= now_s and not (self._needs(run) & self._held):
                self._delayed.remove((due_s, run))
                return self._start(run)
        for i, run in enumerate(self._training):
            if not (self._needs(run) & self._held):
                del self._training[i]
                return self._start(run)
        return self._start(self._ready.pop()) if self._ready else None

    def finished(self, run: Run, stages: Collection[str]) -> None:
        """Note that a run is over, well or not; the values of ``stages`` are stored now."""
        self._stop(run)
        self._stored.update(key for stage, key in zip(STAGES, run.stage_keys, strict=True) if stage in stages)
        ready = [other for other in self._training if not self._needs(other)]
        if ready:
            self._training = [other for other in self._training if self._needs(other)]
            self._ready = [*reversed(ready), *self._ready]

    def lost(self, run: Run, now_s: float) -> float | None:
        """Note that a run's worker died; returns the wait until the next try, None when there is none."""
        self._stop(run)
        times = self._times_lost[run.run_id] = self._times_lost.get(run.run_id, 0) + 1
        if times >= MAX_LOST:
            return None
        wait_s = FIRST_BACKOFF_S * 2.0 ** (times - 1)
        self._delayed.append((now_s + wait_s, run))
        return wait_s

    def _needs(self, run: Run) -> set[str]:
        return set(run.stage_keys) - self._stored

    def _start(self, run: Run) -> Run:
        self._held |= self._needs(run)
        self._under_way[run.run_id] = run
        return run

    def _stop(self, run: Run) -> None:
        del self._under_way[run.run_id]
        self._held -= set(run.stage_keys)
