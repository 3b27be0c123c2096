"""A run directory: written whole or not at all, read back as pandas tables.

Files appear by rename; ``manifest.json`` is written last. A directory without one is not a finished run.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished"
_PARTIAL = ".partial"


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole, by rename."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole, by rename, also when several processes write it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
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
    """A run's tables by name; each is read when first asked for."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._names = tuple(names)
        self._loaded: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._loaded:
            if name not in self._names:
                raise KeyError(name)
            import pyarrow.parquet as pq

            self._loaded[name] = to_pandas(pq.read_table(self._folder / f"{name}.parquet"))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


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
    for name, digest in manifest["tables"].items():
        _verify(path / "tables" / f"{name}.parquet", digest)
    tables = RunTables(path / "tables", manifest["tables"])
    summary = tables["summary"].iloc[0]
    return RunResult(path, tables, {str(k): None if _is_null(v) else v for k, v in summary.items()}, manifest)


def _is_null(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _verify(path: Path, digest: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise InputError("a table of the manifest is missing", where=str(path)) from error
    if found != digest:
        raise InputError("the table differs from the manifest's sha256; it was changed after the run", where=str(path))


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
    try:
        names = {path.name for path in out_dir.iterdir()}
    except FileNotFoundError:
        if out_dir.is_symlink():
            raise InputError("is a link to nowhere; choose another --out", where=where) from None
        return
    except OSError as error:
        raise InputError(f"can't be used: {error.strerror}; choose another --out", where=where) from error
    if MANIFEST not in names:
        half_written = {name for name in names if name.startswith(f".{_UNFINISHED}.") and name.endswith(_PARTIAL)}
        if _UNFINISHED not in names and names - half_written:
            raise InputError("is not empty and holds no run; choose another --out", where=where)
        return
    finished = _manifest(out_dir)
    if not overwrite and finished.get("run_id") != run_id:
        raise InputError(
            f"holds the finished run {finished.get('run_id')} of '{finished.get('scenario')}'; "
            "choose another --out, or replace it with --overwrite",
            where=where,
        )


def can_resume(out_dir: Path, scenario_yaml: str) -> bool:
    """Tell whether a directory holds an unfinished run of this scenario that can be gone on with.

    Raises
    ------
    InputError
        If it holds an unfinished run of another scenario.
    """
    if (out_dir / MANIFEST).exists():
        return False
    try:
        found = (out_dir / "scenario.yaml").read_text()
    except OSError:
        return False
    if found != scenario_yaml:
        raise InputError(
            "holds an unfinished run of another scenario or seed, which can't be resumed with this one; "
            "choose another --out, or leave --resume out to replace it",
            where=str(out_dir),
        )
    return True


def begin(out_dir: Path, *, keep_values: bool = False) -> None:
    """Make a claimed directory, mark it unfinished and remove an earlier run's files; a user's own stay.

    Parameters
    ----------
    out_dir : Path
    keep_values : bool
        Leave the values that training has stored: to go on with an unfinished run.

    Raises
    ------
    InputError
        If it can't be made.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if (out_dir / MANIFEST).exists():
            (out_dir / MANIFEST).replace(out_dir / _UNFINISHED)
        else:
            write_text(out_dir / _UNFINISHED, "This run has not finished. Run it again, or delete the directory.\n")
    except OSError as error:
        raise InputError(f"can't be written: {error.strerror}; choose another --out", where=str(out_dir)) from error
    for name in ("summary.json", "scenario.yaml", "report.html", "trace.json"):
        (out_dir / name).unlink(missing_ok=True)
    for path in out_dir.glob(f".*{_PARTIAL}"):
        path.unlink()
    kept = ("*.safetensors", "*.checkpoint") if keep_values else ()
    for folder, patterns in (("tables", ("*.parquet",)), ("values", ("*.safetensors", "*.checkpoint"))):
        for pattern in (*patterns, f".*{_PARTIAL}"):
            for path in (out_dir / folder).glob(pattern):
                if pattern not in kept:
                    path.unlink()


def finish(out_dir: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, last of all: from here on the run is finished."""
    write_json(out_dir / MANIFEST, manifest)
    (out_dir / _UNFINISHED).unlink()


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise InputError("no finished run here: manifest.json is missing or damaged", where=str(path)) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("tables"), dict):
        raise InputError("manifest.json is not that of a run", where=str(path))
    return manifest
