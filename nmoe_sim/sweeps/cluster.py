"""A Dask cluster as the place of work: the same worker processes, started by Dask's workers.

Dask only carries tasks: a run is a process of its own on the worker's machine, with one thread, so neither its
crash nor Python's global lock touches the Dask worker. Each thread of a Dask worker runs one process.
"""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from distributed import Client, WorkerPlugin, get_worker
from distributed.scheduler import KilledWorker

from nmoe_sim.errors import InputError, RunError
from nmoe_sim.sweeps.children import Children, WorkerLostError

_CONNECT_S = 20.0


class DaskCluster:
    """Workers of a Dask cluster; they must see the sweep's directory and plug-ins at the same paths.

    Parameters
    ----------
    address : str
        ``tcp://host:port``, or a scheduler file.

    Raises
    ------
    InputError
        If no scheduler answers.
    """

    def __init__(self, address: str) -> None:
        file = Path(address)
        target = {"scheduler_file": address} if file.is_file() else {"address": address}
        try:
            self._client: Any = Client(  # type: ignore[no-untyped-call]
                **target, timeout=_CONNECT_S, name="nmoe-sim", set_as_default=False
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"no Dask scheduler answers: {reason}", where=f"--cluster {address}") from error
        self._plugin = f"nmoe-sim-{secrets.token_hex(4)}"  # several sweeps may share a cluster
        self._client.register_plugin(_ChildrenOfWorker(), name=self._plugin)
        self._number = 0

    def capacity(self) -> int:
        """See ``Backend``: the threads of all workers there are now."""
        if self._client.status not in ("running", "connecting"):
            raise RunError("the connection to the Dask scheduler is lost; run the same command again to go on")
        num_threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(num_threads.values()))

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """See ``Backend``."""
        self._number += 1
        remote = self._client.submit(
            _perform, self._plugin, task, key=f"{self._plugin}-{task['run_id']}-{self._number}", pure=False
        )
        local: Future[dict[str, Any]] = Future()
        remote.add_done_callback(lambda ended: _settle(local, ended))
        return local

    def close(self) -> None:
        """See ``Backend``."""
        if self._client.status == "running":
            self._client.unregister_worker_plugin(self._plugin)  # which kills what still runs
        self._client.close()


def _settle(local: Future[dict[str, Any]], remote: Any) -> None:
    if remote.status == "finished":
        local.set_result(remote.result())
        return
    error = remote.exception() if remote.status == "error" else None
    if error is None or isinstance(error, KilledWorker):
        error = WorkerLostError(f"Dask lost the worker: {error or remote.status}")
    local.set_exception(error)


class _ChildrenOfWorker(WorkerPlugin):
    """Holds a Dask worker's processes."""

    def setup(self, worker: Any) -> None:
        self.children = Children()

    def teardown(self, worker: Any) -> None:
        self.children.close()


def _perform(name: str, task: dict[str, Any]) -> dict[str, Any]:
    plugin = get_worker().plugins[name]
    assert isinstance(plugin, _ChildrenOfWorker)
    return plugin.children.perform(task)
