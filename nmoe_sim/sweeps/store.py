"""A sweep directory: what is in it, who may write it, and ``runs.parquet``.

::

    identity.json             what makes two sweeps the same: a directory takes one sweep only
    sweep.yaml                the sweep with its base and seeds written out
    runs.parquet              one row a run, in the order of the plan
    tables/TABLE/RUN_ID.parquet
    records/RUN_ID.json       written last: the run is done, or failed and why
    values/                   trained tensors, shared by all runs
    log.jsonl                 attempts with wall times; the only file that differs from time to time
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.errors import InputError
from nmoe_sim.results.recorder import arrow_schema
from nmoe_sim.results.rundir import write_json, write_table, write_text
from nmoe_sim.results.tables import SUMMARY
from nmoe_sim.scenario.dump import digest, to_yaml
from nmoe_sim.sweeps.code import code_digest
from nmoe_sim.sweeps.plan import Plan, Run
from nmoe_sim.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

DONE, FAILED, PENDING = "done", "failed", "pending"
_SHARED = ("run_id", "seed")
"""Columns of ``summary`` that ``runs.parquet`` has anyway."""
_LEAST_REST_S, _LARGEST_SHARE = 1.0, 0.02
"""``runs.parquet`` is rewritten at most this often, and within this share of the time."""


class SweepStore:
    """A sweep directory that this process writes to.

    Parameters
    ----------
    folder : Path
    plan : Plan
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self._plan = plan
        self._records: dict[str, dict[str, Any]] = {}
        self._written_s, self._took_s = 0.0, 0.0

    def done(self) -> set[str]:
        """Return the ids of the runs that are done."""
        return {run_id for run_id, record in self._records.items() if record["status"] == DONE}

    def failed(self) -> dict[str, str]:
        """Return run id -> error of the runs that failed, in the order of the plan."""
        records = {run.run_id: self._records.get(run.run_id) for run in self._plan.runs}
        return {run_id: str(r["error"]) for run_id, r in records.items() if r and r["status"] == FAILED}

    def read_records(self) -> None:
        """Read what earlier calls left; a run without a whole record isn't done."""
        for run in self._plan.runs:
            path = record_path(self.folder, run.run_id)
            if path.exists():
                self._records[run.run_id] = json.loads(path.read_text())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Claim the directory for this sweep and this process.

        Raises
        ------
        InputError
            If it holds something else, or another process works on it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"can't be made: {error.strerror}; choose another --out", where=str(self.folder)
            ) from error
        path = self.folder / "identity.json"
        if not path.exists():
            write_json(path, identity(self._plan))
        import fcntl  # POSIX only; the system lets go of the lock when the process ends, however it ends

        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError("another process is working on this sweep", where=str(self.folder)) from error
            self._remove_partials()
            write_text(self.folder / "sweep.yaml", to_yaml(self._plan.sweep.resolved()))
            self.read_records()
            self.write_runs()
            self._took_s = 0.0  # imports were most of the first time
            try:
                yield
                self._remove_partials()
            finally:
                self.write_runs()

    def _remove_partials(self) -> None:
        """Remove what workers that were killed had half written; nobody may be writing."""
        for partial in self.folder.rglob(".*.partial"):
            partial.unlink(missing_ok=True)

    def take_record(self, run: Run) -> None:
        """Take over what a worker recorded about a run, and bring ``runs.parquet`` up to date now and then."""
        self._records[run.run_id] = json.loads(record_path(self.folder, run.run_id).read_text())
        rest_s = max(_LEAST_REST_S, self._took_s / _LARGEST_SHARE)
        if time.monotonic() - self._written_s > rest_s:
            self.write_runs()

    def give_up(self, run: Run, error: str) -> None:
        """Record that a run failed without its worker's saying so."""
        write_record(self.folder, run.run_id, FAILED, error=error)
        self.take_record(run)

    def log(self, **entry: Any) -> None:
        """Append a line to ``log.jsonl``."""
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def write_runs(self) -> None:
        """Write ``runs.parquet``: a function of the plan and of the runs' records alone."""
        started_s = time.monotonic()
        write_table(self._runs(), self.folder / "runs.parquet")
        self._written_s = time.monotonic()
        self._took_s = self._written_s - started_s

    def _runs(self) -> pa.Table:
        import pyarrow as pa

        rows = [self._row(run) for run in self._plan.runs]
        schema = runs_schema(self._plan)
        return pa.Table.from_pydict({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)

    def _row(self, run: Run) -> dict[str, Any]:
        record = self._records.get(run.run_id, {"status": PENDING})
        row = {**run.settings, "seed": run.scenario.seed, "run_id": run.run_id, **(record.get("summary") or {})}
        for name, expression in self._plan.derived.items():
            row[name] = expression.value(row) if record["status"] == DONE else None
        return {**row, **{key: record.get(key) for key in ("status", "error", "traceback")}}


def record_path(folder: Path, run_id: str) -> Path:
    """Return the file that says how a run went."""
    return folder / "records" / f"{run_id}.json"


def write_record(
    folder: Path,
    run_id: str,
    status: str,
    *,
    summary: Mapping[str, Any] | None = None,
    error: str | None = None,
    traceback: str | None = None,
) -> None:
    """Write how a run went; the last thing of a run that is written."""
    content = {"run_id": run_id, "status": status, "summary": summary, "error": error, "traceback": traceback}
    write_json(record_path(folder, run_id), content)


def runs_schema(plan: Plan) -> pa.Schema:
    """Return the columns of ``runs.parquet``: run, status, varied settings, seed, summary, derived, failure."""
    import pyarrow as pa

    types = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}

    def field(name: str, dtype: str, meaning: str, *, nullable: bool = True) -> pa.Field:
        return pa.field(name, types[dtype], nullable=nullable, metadata={"unit": "", "meaning": meaning})

    summary = [f.with_nullable(True) for f in arrow_schema(SUMMARY) if f.name not in _SHARED]
    return pa.schema(
        [
            field("run_id", "string", "hash of the resolved scenario, and seed", nullable=False),
            field("status", "string", f"{DONE} | {FAILED} | {PENDING}", nullable=False),
            *(field(key, dtype, "varied setting") for key, dtype in plan.columns.items()),
            field("seed", "int64", "seed", nullable=False),
            *summary,
            *(field(name, "float64", plan.sweep.spec.derived[name]) for name in plan.derived),
            field("error", "string", "why the run failed"),
            field("traceback", "string", "where the run failed"),
        ]
    )


def identity(plan: Plan) -> dict[str, Any]:
    """Return what makes two sweeps the same; results of others don't belong into the same tables."""
    spec = plan.sweep.resolved()
    return {
        "base": digest(spec["base"]),
        "sweep": digest({key: value for key, value in spec.items() if key not in ("base", "description")}),
        "plugins": plan.sweep.plugin_digests(),
        "version": __version__,
        "code": code_digest(),
        "num_runs": len(plan.runs),
    }


_DIFFERENT = {
    "base": "its base scenario differs",
    "sweep": "its settings, seeds or derived columns differ",
    "plugins": "its plug-ins differ",
    "version": "it was made by another version of nmoe-sim",
    "code": "nmoe-sim's code has changed since",
    "num_runs": "its number of runs differs",
}


def check_free(folder: Path, plan: Plan) -> None:
    """Make sure that a sweep may write into a directory; nothing is changed.

    Free are a directory that doesn't exist or is empty, and one that the same sweep began.

    Raises
    ------
    InputError
        If it isn't free.
    """
    where = str(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file; choose another --out", where=where)
    if not folder.exists() or not any(p for p in folder.iterdir() if not p.name.endswith(".partial")):
        return
    try:
        found = json.loads((folder / "identity.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError("not empty, and no sweep's directory; choose another --out", where=where) from error
    for key, value in identity(plan).items():
        if not isinstance(found, dict) or found.get(key) != value:
            raise InputError(f"holds another sweep: {_DIFFERENT[key]}; choose another --out", where=where)
