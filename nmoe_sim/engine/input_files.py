"""Settings that name a file: what counts is the content, not the path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.dump import MACHINE_DEPENDENT
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa


class FromFile(Spec):
    """Base of a spec that reads a file: its first fields are ``file`` and ``sha256``.

    ``sha256`` is found out when the scenario is loaded and stands in the resolved scenario and in its hash, the
    path doesn't. So a run can be repeated where the file lies elsewhere, and a file that has changed is an error.
    A subclass sets ``section`` and checks what the file says by overriding ``check_content``.
    """

    section: ClassVar[str]
    """Where a scenario sets this spec, such as ``mobility``."""
    max_bytes: ClassVar[int] = 2**30
    """A larger file is refused."""

    file: Annotated[str, Field(min_length=1, json_schema_extra={MACHINE_DEPENDENT: True})]
    """The file, relative to the working directory."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest that the file's content must have, in hex; null: found out on loading."""

    @classmethod
    def check_content(cls, file: str, content: bytes) -> None:
        """Check what the file says.

        Raises
        ------
        ValueError
            Naming file, place, value, rule and remedy.
        """

    @field_validator("file")
    @classmethod
    def _readable(cls, file: str) -> str:
        cls.check_content(file, read(file, cls.max_bytes))
        return file

    @field_validator("sha256")
    @classmethod
    def _digest(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        if "file" not in info.data:  # its own fault is reported
            return sha256
        found = hashlib.sha256(read(info.data["file"], cls.max_bytes)).hexdigest()
        if sha256 not in (None, found):
            raise ValueError(
                f"{info.data['file']} has the sha256 {found}, not {sha256}; give the file this scenario was made "
                "with, or remove sha256 to take the file as it is"
            )
        return found

    def content(self) -> bytes:
        """Return the file's bytes.

        Raises
        ------
        InputError
            If the file is gone, or isn't what it was when the scenario was loaded.
        """
        try:
            content = read(self.file, self.max_bytes)
        except ValueError as error:
            raise self.input_error(str(error)) from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise self.input_error(f"{self.file}: changed since the scenario was loaded")
        return content

    def input_error(self, message: str) -> InputError:
        """Return an error that points to where the scenario names the file."""
        return InputError(message, key=f"{self.section}.file")


def read(file: str, max_bytes: int) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    ValueError
        If it can't be read or is larger than ``max_bytes``.
    """
    path = Path(file).expanduser()
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError(f"{file}: a device or a pipe, which may never end; give a file")
        if (size := path.stat().st_size) > max_bytes:
            raise ValueError(f"{file}: {size:,} bytes are more than the {max_bytes:,} that are read; make it smaller")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {(error.strerror or 'unreadable').lower()}; searched from {Path.cwd()}") from error


class Columns:
    """The columns of a CSV (with a header) or Parquet file, told apart by its ending; others are left alone.

    Parameters
    ----------
    file : str
        Its name, for the ending and for messages.
    content : bytes
    columns : mapping of str to str
        Name of each column needed, and what it must hold: the end of an error's message.

    Raises
    ------
    ValueError
        Naming file and column: neither CSV nor Parquet, a column missing, no rows.
    """

    def __init__(self, file: str, content: bytes, columns: Mapping[str, str]) -> None:
        self._file = file
        self._remedy = columns
        self._table = _table(file, content, tuple(columns))
        found = self._table.column_names
        if missing := [name for name in columns if name not in found]:
            raise ValueError(f"{file}: no column {missing[0]!r}; it needs the columns {', '.join(columns)}")
        if twice := [name for name in columns if found.count(name) > 1]:
            raise ValueError(f"{file}: two columns {twice[0]!r}; rename or remove one")
        if not self._table.num_rows:
            raise ValueError(f"{file}: has no rows")

    def numbers(self, name: str, low: float = -1e30, high: float = 1e30) -> NDArray[np.float64]:
        """Return a column of numbers; one that is none, or not from ``low`` to ``high``, is a ``ValueError``."""
        import pandas as pd
        import pyarrow as pa

        column = self._table[name]
        try:
            values = column.cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:  # some isn't a number; slower, but tells which
            values = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float64, na_value=np.nan)
        wrong = ~((values >= low) & (values <= high))
        if wrong.any():
            raise self.error(name, int(np.argmax(wrong)))
        return np.asarray(values, np.float64)

    def texts(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return a column of texts as codes and the texts they stand for; a missing one is a ``ValueError``."""
        import pyarrow as pa

        codes, texts = self._table[name].cast(pa.string()).to_pandas().str.strip().factorize(use_na_sentinel=False)
        for code, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                raise self.error(name, int(np.argmax(codes == code)))
        return np.asarray(codes, np.int64), list(texts)

    def error(self, name: str, row: int, remedy: str | None = None) -> ValueError:
        """Return the error that a value doesn't do."""
        # the header of a CSV is its line 1
        place = f"line {row + 2}" if Path(self._file).suffix.lower() == ".csv" else f"row {row}"
        value = self._table[name][row].as_py()
        shown = "missing" if value is None else repr(value)
        return ValueError(f"{self._file}: {place}: {name} is {shown[:60]}; {remedy or self._remedy[name]}")


def _table(file: str, content: bytes, names: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    try:
        match Path(file).suffix.lower():
            case ".csv":
                # text first: a number that isn't one is told by its line
                text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
                strict = csv.ParseOptions(ignore_empty_lines=False)
                serial = csv.ReadOptions(use_threads=False)  # only then errors tell the row
                table = csv.read_csv(
                    pa.BufferReader(content), read_options=serial, convert_options=text, parse_options=strict
                )
                return table.rename_columns([name.strip() for name in table.column_names])
            case ".parquet" | ".pq":
                return pq.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise ValueError(f"{file}: can't be read: {str(error).splitlines()[0]}") from error
    raise ValueError(f"{file}: it must be a .csv or a .parquet file")
