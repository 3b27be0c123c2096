"""A run directory: written whole or not at all, read back as pandas tables.

Files appear by rename; ``manifest.json`` is written last. A directory without one is not a finished run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST = "manifest.json"
_OWN_NAMES = {"values", "tables", "scenario.yaml", "summary.json", MANIFEST}
_PARTIAL = ".partial"


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole, by rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON with sorted keys, whole; NaN is not JSON and an error."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_table(table: pa.Table, path: Path) -> str:
    """Write a Parquet file, whole, and return the sha256 of its bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, without reading it whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RunTables(Mapping[str, "pd.DataFrame"]):
    """A run's tables by name; each is read, and checked against the manifest, when first asked for."""

    def __init__(self, path: Path, digests: Mapping[str, str]) -> None:
        self._path = path
        self._digests = digests
        self._loaded: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._loaded:
            self._loaded[name] = _read(self._path / "tables" / f"{name}.parquet", self._digests[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    path: Path
    tables: Mapping[str, pd.DataFrame]
    """pandas tables by name, as declared in ``nmoe_sim.results.tables``; missing values are null."""
    summary: dict[str, Any]
    """The row of the ``summary`` table."""
    manifest: dict[str, Any]


def load_run(path: str | Path) -> RunResult:
    """Read a finished run.

    Raises
    ------
    InputError
        If the directory holds no finished run, or a file isn't what the manifest says.
    """
    path = Path(path)
    manifest = _manifest(path)
    digests: Mapping[str, str] = manifest["tables"]
    tables = RunTables(path, digests)
    summary = tables["summary"].iloc[0]
    return RunResult(path, tables, {str(k): None if _is_null(v) else v for k, v in summary.items()}, manifest)


def _is_null(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _read(path: Path, digest: str) -> pd.DataFrame:
    import pyarrow.parquet as pq

    try:
        found = file_sha256(path)
    except OSError as error:
        raise InputError("a table of the manifest is missing", where=str(path)) from error
    if found != digest:
        raise InputError("the table differs from the manifest's sha256; it was changed after the run", where=str(path))
    return to_pandas(pq.read_table(path))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Convert to pandas; integer and boolean columns that can be null become nullable types."""
    import pandas as pd
    import pyarrow as pa

    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if field.nullable and field.type == pa.int64():
            frame[field.name] = pd.array(table[field.name].to_pylist(), dtype="Int64")
        elif field.nullable and field.type == pa.bool_():
            frame[field.name] = pd.array(table[field.name].to_pylist(), dtype="boolean")
    return frame


def claim(out_dir: Path, run_id: str, *, overwrite: bool = False) -> None:
    """Make sure that a run may write into a directory; nothing is changed.

    Free are a directory that doesn't exist or is empty, an unfinished run, and a finished one of the
    same ``run_id``; with ``overwrite`` any run, but nothing that isn't one.

    Raises
    ------
    InputError
        If it isn't free.
    """
    where = str(out_dir)
    if not out_dir.exists():
        return
    if not out_dir.is_dir():
        raise InputError("is a file; choose another --out", where=where)
    foreign = [path.name for path in out_dir.iterdir() if not _is_own(path)]
    if foreign:
        raise InputError(f"holds {min(foreign)!r}, which is no part of a run; choose another --out", where=where)
    if overwrite or not (out_dir / MANIFEST).exists():
        return
    finished = _manifest(out_dir)
    if finished.get("run_id") != run_id:
        raise InputError(
            f"holds the finished run {finished.get('run_id')} of '{finished.get('scenario')}'; "
            "choose another --out, or replace it with --overwrite",
            where=where,
        )


def clear(out_dir: Path) -> None:
    """Remove an earlier run, its manifest first: from here on nothing looks finished."""
    (out_dir / MANIFEST).unlink(missing_ok=True)
    for path in sorted(filter(_is_own, out_dir.iterdir())):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_own(path: Path) -> bool:
    """Tell whether a run writes a file or folder of this name, or left it half-written."""
    return path.name in _OWN_NAMES or (path.name.startswith(".") and path.name.endswith(_PARTIAL))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise InputError("no finished run here: manifest.json is missing or damaged", where=str(path)) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("tables"), dict):
        raise InputError("manifest.json is not that of a run", where=str(path))
    return manifest
