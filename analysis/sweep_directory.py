"""What a sweep directory must have, whoever reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.errors import InputError
from nmoe_sim.results.rundir import to_pandas

if TYPE_CHECKING:
    import pandas as pd


def read_runs(path: Path) -> pd.DataFrame:
    """Read ``runs.parquet`` of a sweep directory.

    Raises
    ------
    InputError
        If it isn't there, or isn't that of a sweep.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        runs = to_pandas(pq.read_table(pa.BufferReader((path / "runs.parquet").read_bytes())))
    except OSError as error:
        raise InputError("no sweep here: runs.parquet is missing", where=str(path)) from error
    except pa.ArrowException as error:
        raise InputError(f"runs.parquet is damaged: {first_line(error)}", where=str(path)) from error
    if "run_id" not in runs:
        raise InputError("runs.parquet is not that of a sweep: it has no column run_id", where=str(path))
    return runs


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).splitlines()[0]
