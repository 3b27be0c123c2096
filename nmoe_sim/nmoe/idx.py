"""IDX files: the format of MNIST and its relatives."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.errors import InputError

_MAX_BYTES = 2**31


def read_idx(path: Path, *, num_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzip-compressed (by the suffix ``.gz``).

    The file is a big-endian header, ``0 0 8 num_axes`` and one 32-bit size an axis, followed by
    exactly the product of the sizes in bytes (LeCun, Cortes and Burges, "The MNIST database").

    Parameters
    ----------
    path : Path
        The file.
    num_axes : int
        Axes the array must have: 3 for images, 1 for labels.

    Returns
    -------
    ndarray of uint8
        Shape given by the header.

    Raises
    ------
    InputError
        The file can't be read, isn't such a file, is cut short or goes on after its end.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _parse(file, path, num_axes)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read: {error}; get the file again", key="data.directory") from error


def _parse(file: BinaryIO | gzip.GzipFile, path: Path, num_axes: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * num_axes)
    if header[:4] != bytes((0, 0, 8, num_axes)):
        raise _wrong(path, f"starts with {header[:4].hex(' ')}, not with 00 00 08 {num_axes:02x}")
    if len(header) < 4 + 4 * num_axes:
        raise _wrong(path, f"ends within its header, after {len(header)} bytes")
    shape = tuple(int(n) for n in np.frombuffer(header, dtype=">u4", offset=4))
    num_bytes = math.prod(shape)
    if not 0 < num_bytes <= _MAX_BYTES:
        raise _wrong(path, f"its header declares {num_bytes} bytes, outside 1..{_MAX_BYTES}")
    content = file.read(num_bytes + 1)
    if len(content) != num_bytes:
        found = f"only {len(content)}" if len(content) < num_bytes else "more"
        raise _wrong(path, f"its header declares {num_bytes} bytes, it holds {found}")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _wrong(path: Path, what: str) -> InputError:
    return InputError(
        f"{path}: not an IDX file of unsigned bytes with the expected axes: {what}; get the file again",
        key="data.directory",
    )
