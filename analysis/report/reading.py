"""What a report reads of a run: the small tables whole, of the large ones only what is shown.

A run of a million requests has many millions of hops. The report reads every request, but jobs and
hops only of training and of the requests it looks at closely, while the files stream past.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.report.hops import Hops, read_hops
from analysis.report.sampling import Ids, busiest, evenly, slowest, unanswered
from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import MANIFEST, to_pandas
from nmoe_sim.results.tables import TABLES

NUM_SAMPLED = 4000
"""Requests whose critical path is walked for the breakdown of latency."""
NUM_SLOWEST = 10
NUM_UNANSWERED = 5
NUM_PLAYED = 200
"""Requests of the playback."""

_PER_REQUEST = ("transfers", "compute")
_LONG_LISTS = ("hosts", "experts_used")
_MANIFEST_KEYS = ("run_id", "scenario", "scenario_hash", "seed", "tables")


@dataclass(frozen=True)
class ReportRun:
    """One finished run, as far as a report reads it."""

    path: Path
    manifest: dict[str, Any]
    scenario_yaml: str
    tables: dict[str, pd.DataFrame]
    """All tables; ``requests`` without its lists of hosts, ``transfers`` and ``compute`` only with rows
    of training and of ``closely``."""
    closely: pd.DataFrame
    """Rows of ``requests``, with all columns, that the report looks at closely."""
    hops: Hops
    """What all hops come down to."""
    sampled: Ids
    played: Ids
    slowest: Ids
    unanswered: Ids

    def tables_of(self, ids: Iterable[int]) -> dict[str, pd.DataFrame]:
        """Return ``requests``, ``transfers``, ``compute`` of some requests looked at closely, and ``handovers``."""
        wanted = set(map(int, ids))
        everything = {"requests": self.closely, **{name: self.tables[name] for name in _PER_REQUEST}}
        chosen = {name: table[table["request_id"].isin(wanted)] for name, table in everything.items()}
        return {**chosen, "handovers": self.tables["handovers"]}

    @property
    def is_static(self) -> bool:
        """Whether nobody moves."""
        return not self.tables["positions"]["device"].duplicated().any()

    def figure(self, name: str) -> float | None:
        """Return a figure of the run: a column of ``summary``, or of its hops and handovers."""
        if name == "num_handovers":
            return len(self.tables["handovers"]) or None
        if name in ("retried_ratio", "retransmissions_mean"):
            value: float | None = getattr(self.hops, name)
            return value or None
        return None if pd.isna(self.summary[name]) else float(self.summary[name])

    @property
    def summary(self) -> pd.Series[Any]:
        """The row of the ``summary`` table."""
        return self.tables["summary"].iloc[0]


def read_run(path: Path, *, num_played: int = NUM_PLAYED) -> ReportRun:
    """Read a finished run for a report.

    Raises
    ------
    InputError
        If the directory holds no finished run, or a file isn't what the manifest says.
    """
    manifest = read_manifest(path)
    columns = [name for name in TABLES["requests"].column_names if name not in _LONG_LISTS]
    requests = _read(path, "requests", columns)
    chosen = {
        "sampled": evenly(requests, NUM_SAMPLED),
        "played": busiest(requests, num_played),
        "slowest": slowest(requests, NUM_SLOWEST),
        "unanswered": unanswered(requests, NUM_UNANSWERED),
    }
    ids = np.unique(np.concatenate(list(chosen.values())))
    small = [name for name in TABLES if name != "requests" and name not in _PER_REQUEST]
    tables = {name: _read(path, name) for name in small}
    tables |= {name: _read(path, name, ids=ids, training=True) for name in _PER_REQUEST}
    return ReportRun(
        path=path,
        manifest=manifest,
        scenario_yaml=_text(path / "scenario.yaml"),
        tables={**tables, "requests": requests},
        closely=_read(path, "requests", ids=ids),
        hops=read_hops(table_path(path, "transfers")),
        **chosen,
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a finished run, and make sure that its tables are what the manifest says.

    Raises
    ------
    InputError
        If the directory holds no finished run, or a file isn't what the manifest says.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("no finished run here: manifest.json is missing or damaged", where=str(path)) from error
    if not isinstance(manifest, dict) or any(key not in manifest for key in _MANIFEST_KEYS):
        raise InputError("manifest.json is not that of a run", where=str(path))
    if missing := sorted(set(TABLES) - set(manifest["tables"])):
        raise InputError(f"the run has no table {missing[0]!r}; run it again with this version", where=str(path))
    for name, digest in manifest["tables"].items():
        _verify(table_path(path, name), digest)
    return manifest


def table_path(path: Path, name: str) -> Path:
    """Return where a run directory has a table."""
    return path / "tables" / f"{name}.parquet"


def _verify(path: Path, digest: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError("a table of the manifest is missing", where=str(path)) from error
    if found != digest:
        raise InputError("the table differs from the manifest's sha256; it was changed after the run", where=str(path))


def _read(
    path: Path, name: str, columns: Sequence[str] | None = None, *, ids: Ids | None = None, training: bool = False
) -> pd.DataFrame:
    """Read a table; with ``ids`` only rows of these requests, and with ``training`` those of none."""
    import pyarrow.dataset as ds

    chosen = None
    if ids is not None:
        chosen = ds.field("request_id").isin(ids.tolist())
        if training:
            chosen |= ds.field("request_id").is_null()
    wanted = None if columns is None else list(columns)
    # Few batches ahead: the scan of a large file then keeps to some hundred megabytes.
    table = ds.dataset(table_path(path, name)).to_table(columns=wanted, filter=chosen, batch_readahead=2)
    return to_pandas(table)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't be read: {os.strerror(error.errno or 0)}", where=str(path)) from error
