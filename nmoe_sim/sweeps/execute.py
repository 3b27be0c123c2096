"""Runs a sweep: tasks to workers, their records into tables, until all is done or has failed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from nmoe_sim.sweeps.children import Children, WorkerLostError
from nmoe_sim.sweeps.code import code_digest
from nmoe_sim.sweeps.plan import Plan, Run
from nmoe_sim.sweeps.schedule import MAX_LOST, Schedule
from nmoe_sim.sweeps.store import DONE, SweepStore, check_free
from nmoe_sim.sweeps.watch import Watch

_POLL_S = 0.5


class Backend(Protocol):
    """Where tasks are performed."""

    def capacity(self) -> int:
        """Return how many tasks can be under way now, at least one."""

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """Start a task; a worker that dies is a ``WorkerLostError`` in the future."""

    def close(self) -> None:
        """Stop what is under way and let go of the workers."""


class LocalProcesses:
    """Worker processes on this machine."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._children = Children()
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="sweep")

    def capacity(self) -> int:
        """See ``Backend``."""
        return self._num_workers

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """See ``Backend``."""
        return self._threads.submit(self._children.perform, task)

    def close(self) -> None:
        """See ``Backend``."""
        self._children.close()
        self._threads.shutdown(cancel_futures=True)


@dataclass
class SweepResult:
    """How a call of ``run_sweep`` went.

    Parameters
    ----------
    folder : Path
    num_done : int
        Runs that are done, those of earlier calls included.
    num_skipped : int
        Runs that were done before this call.
    failed : mapping of str to str
        Run id -> error.
    computed, loaded : Counter of str
        Training stages whose values this call computed, and took from the store.
    wall_time_s : float
    """

    folder: Path
    num_done: int = 0
    num_skipped: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    computed: Counter[str] = field(default_factory=Counter)
    loaded: Counter[str] = field(default_factory=Counter)
    wall_time_s: float = 0.0


def run_sweep(
    plan: Plan,
    folder: str | Path,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    watch: Watch | None = None,
) -> SweepResult:
    """Run what isn't done of a sweep; call it again to go on after an interruption.

    Runs that are done are left alone, those that failed are tried again. The tables and ``runs.parquet`` are
    the same bytes whoever ran what, in which order and however often it was interrupted.

    Parameters
    ----------
    plan : Plan
    folder : str or Path
        The sweep's directory; with a cluster, on a file system that all its workers see.
    workers : int, optional
        Worker processes; as many as there are cores by default.
    cluster : str, optional
        Address of a Dask scheduler, or its scheduler file; instead of local processes.
    watch : Watch, optional
        Is told what happens.

    Raises
    ------
    InputError
        If the directory is taken, or there is no cluster at the address.
    """
    started_s = time.monotonic()
    folder, watch = Path(folder), watch or Watch()
    check_free(folder, plan)
    backend = _backend(workers, cluster)
    store = SweepStore(folder, plan)
    try:
        with store.writing():
            result = SweepResult(folder, num_skipped=len(store.done()))
            try:
                _work(plan, store, backend, watch, result)
            except BaseException:  # an interrupt, most often: what the workers have finished meanwhile counts
                backend.close()
                store.read_records()
                raise
            result.num_done, result.failed = len(store.done()), store.failed()
    finally:
        backend.close()
    result.wall_time_s = time.monotonic() - started_s
    return result


def _backend(workers: int | None, cluster: str | None) -> Backend:
    if cluster is None:
        return LocalProcesses(workers or os.cpu_count() or 1)
    from nmoe_sim.sweeps.cluster import DaskCluster

    return DaskCluster(cluster)


def _work(plan: Plan, store: SweepStore, backend: Backend, watch: Watch, result: SweepResult) -> None:
    done = store.done()
    stored = {key for run in plan.runs if run.run_id in done for key in run.stage_keys}
    schedule = Schedule((run for run in plan.runs if run.run_id not in done), stored)
    answers: SimpleQueue[tuple[Run, Future[dict[str, Any]]]] = SimpleQueue()
    code, attempts = code_digest(), Counter[str]()
    watch.begin(len(plan.runs), len(done))
    while schedule.unfinished:
        while schedule.num_under_way < backend.capacity() and (run := schedule.take(time.monotonic())):
            attempts[run.run_id] += 1
            watch.started(run)
            future = backend.submit(_task(run, plan, store.folder, code))
            future.add_done_callback(lambda future, run=run: answers.put((run, future)))  # type: ignore[misc]
        try:
            run, future = answers.get(timeout=_POLL_S)
        except Empty:
            continue
        entry = {"run_id": run.run_id, "attempt": attempts[run.run_id], "ended_at_s": round(time.time(), 3)}
        try:
            answer = future.result()
        except WorkerLostError as error:
            _lost(run, str(error), schedule, store, watch, entry)
            continue
        schedule.finished(run, [*answer["computed"], *answer["loaded"]])
        result.computed.update(answer["computed"])
        result.loaded.update(answer["loaded"])
        store.take_record(run)
        store.log(**entry, **answer)
        watch.finished(run, None if answer["status"] == DONE else answer["error"])


def _lost(run: Run, error: str, schedule: Schedule, store: SweepStore, watch: Watch, entry: Mapping[str, Any]) -> None:
    wait_s = schedule.lost(run, time.monotonic())
    store.log(**entry, status="lost", error=error)
    if wait_s is not None:
        watch.lost(run, error, wait_s)
        return
    told = f"{MAX_LOST} workers died of it; out of memory, or killed? log.jsonl says more"
    store.give_up(run, told)
    watch.finished(run, told)


def _task(run: Run, plan: Plan, folder: Path, code: str) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "scenario": run.scenario.resolved(),
        "plugins": [str(plugin) for plugin in plan.sweep.plugins],
        "folder": str(folder.resolve()),
        "code": code,
    }
