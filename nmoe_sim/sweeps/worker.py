"""A worker: a process of its own that runs one scenario after the other.

Tasks come as lines of JSON on stdin, answers go as lines of JSON to stdout. When stdin closes, whoever
sent the tasks is gone, and the worker ends at once: all it writes appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nmoe_sim.checks import check
from nmoe_sim.errors import RunError
from nmoe_sim.families import families
from nmoe_sim.lifecycle import simulate
from nmoe_sim.preparation import prepare
from nmoe_sim.results.rundir import write_table
from nmoe_sim.results.tables import TABLES
from nmoe_sim.scenario.loader import build
from nmoe_sim.scenario.spec import Families
from nmoe_sim.sweeps.code import code_digest
from nmoe_sim.sweeps.store import DONE, FAILED, write_record
from nmoe_sim.training.learning import Learning

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MAX_TRACEBACK = 20_000


def main() -> None:
    """Serve tasks until stdin closes."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one who sends the tasks
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a run prints must not be taken for an answer
    tasks: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    worker = Worker()
    while True:
        answers.write(json.dumps(worker.perform(json.loads(tasks.get()))) + "\n")
        answers.flush()


def _listen(tasks: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


class Worker:
    """Runs scenarios and writes their tables and records into a sweep directory."""

    def __init__(self) -> None:
        self._families: dict[tuple[str, ...], Families] = {}
        self._code = code_digest()

    def perform(self, task: dict[str, Any]) -> dict[str, Any]:
        """Run one scenario; whatever goes wrong in it is recorded.

        Parameters
        ----------
        task : dict
            ``run_id``, ``scenario`` (resolved), ``plugins`` (paths), ``folder`` (of the sweep), ``code``.

        Returns
        -------
        dict
            ``status``, ``error``, ``computed`` and ``loaded`` (training stages), ``wall_time_s``, ``worker``.
        """
        folder, run_id = Path(task["folder"]), task["run_id"]
        started = time.monotonic()
        answer: dict[str, Any] = {"worker": f"{platform.node()}:{os.getpid()}", "computed": [], "loaded": []}
        try:
            self._run(task, folder, answer)
        except (Exception, SystemExit) as error:  # a failed run must not stop the others
            told = _told("".join(traceback.format_exception_only(error)).strip())
            trace = _told(traceback.format_exc())[-_MAX_TRACEBACK:]
            write_record(folder, run_id, FAILED, error=told, traceback=trace)
            answer |= {"status": FAILED, "error": told}
        else:
            answer |= {"status": DONE, "error": None}
        return {**answer, "wall_time_s": time.monotonic() - started}

    def _run(self, task: dict[str, Any], folder: Path, answer: dict[str, Any]) -> None:
        if task["code"] != self._code:
            raise RunError(f"the worker at {platform.node()} has other code of nmoe-sim than the sweep")
        plugins = tuple(task["plugins"])
        if plugins not in self._families:
            self._families[plugins] = families(plugins)
        scenario = build(task["scenario"], families=self._families[plugins])
        if scenario.run_id != task["run_id"]:
            raise RunError(f"the scenario arrived as {scenario.run_id}; are the plug-ins the same everywhere?")
        layout = check(scenario)
        learning = prepare(scenario, layout, values_dir=folder / "values", workers=1)
        answer |= {"computed": learning.store.computed, "loaded": learning.store.loaded}
        simulate(learning, layout)
        _write(learning, folder, task["run_id"])


def _write(learning: Learning, folder: Path, run_id: str) -> None:
    import pyarrow as pa

    recorder = learning.simulation.recorder
    first = pa.field("run_id", pa.string(), nullable=False, metadata={"unit": "", "meaning": "run of the sweep"})
    for name in TABLES:
        table = recorder.arrow(name)
        if "run_id" not in table.column_names:
            table = table.add_column(0, first, pa.array([run_id] * len(table), pa.string()))
        write_table(table, folder / "tables" / name / f"{run_id}.parquet")
    [summary] = recorder.arrow("summary").to_pylist()
    write_record(folder, run_id, DONE, summary=summary)


def _told(text: str) -> str:
    """Return a message without what differs from process to process."""
    return _ADDRESS.sub(" at 0x…", text)


if __name__ == "__main__":
    main()
