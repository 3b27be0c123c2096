"""Worker processes: started when needed, told what to run, and buried when they die."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from typing import Any

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from nmoe_sim.sweeps.worker import main; main()"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_MAX_SAID = 2000


class WorkerLostError(Exception):
    """A worker process died; the message says how, and what it said last."""


class Children:
    """Worker processes of this one; as many as there are concurrent calls of ``perform``.

    Each computes on one thread: there are as many workers as cores are to be used.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()
        self._closed = False

    def perform(self, task: dict[str, Any]) -> dict[str, Any]:
        """Have a worker process perform a task; blocks, and may be called from several threads.

        Raises
        ------
        WorkerLostError
            If the process dies before it has answered.
        """
        with self._lock:
            if self._closed:
                raise WorkerLostError("the sweep has ended")
            child = self._idle.pop() if self._idle else _Child()
            self._all.add(child)
        try:
            answer = child.perform(task)
        except WorkerLostError:
            with self._lock:
                self._all.discard(child)
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(child)
        return answer

    def close(self) -> None:
        """Kill all workers; calls of ``perform`` that wait raise."""
        with self._lock:
            self._closed = True
            idle, busy = self._idle, self._all.difference(self._idle)
            self._idle, self._all = [], set()
        for child in busy:
            child.kill()
        for child in idle:
            child.bury()


class _Child:
    def __init__(self) -> None:
        environment = {**os.environ, **dict.fromkeys(_THREADS, "1")}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process lives
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            encoding="utf-8",
        )

    def perform(self, task: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        with contextlib.suppress(OSError, ValueError):  # it died, or was closed: there is no answer
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise WorkerLostError(self.bury())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def bury(self) -> str:
        self.kill()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")[-_MAX_SAID:].strip()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return f"a worker {how}" + (f"; it said last: {said}" if said else "")
