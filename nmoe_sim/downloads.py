"""Fetches the files of data sets: checksummed, resumed where they were cut, never half-written."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.datasets import FileDatasetSpec, Remote, RemoteFile
from nmoe_sim.nmoe.datasets.files import data_folder
from nmoe_sim.training.learning import Progress, no_progress
from nmoe_sim.version import __version__

TIMEOUT_S = 30.0
"""A server that says nothing for so long is given up."""
_CHUNK_BYTES = 1 << 16
_MB = 10**6


@dataclass(frozen=True)
class Fetched:
    """Where a data set is now.

    Parameters
    ----------
    paths : tuple of Path
        Its files.
    is_new : bool
        Whether anything was downloaded.
    """

    paths: tuple[Path, ...]
    is_new: bool


def fetch(
    spec: type[FileDatasetSpec],
    *,
    to: Path | None = None,
    base_url: str | None = None,
    progress: Progress = no_progress,
) -> Fetched:
    """Make sure that a data set is on this machine, whole.

    A copy that is found and can be read in full is kept. Otherwise files come into the folder ``spec.subfolders[0]``:
    each grows as ``NAME.part``, from where it was cut if the server can, and gets its name once its MD5 is right.

    Parameters
    ----------
    spec : type of FileDatasetSpec
        The data set.
    to : Path, optional
        Look in, and fetch into, this folder alone; by default all are looked in, and ``data_folder()`` is filled.
    base_url : str, optional
        Fetch from a mirror: what comes before the file names.
    progress : Progress

    Raises
    ------
    InputError
        There is no address, the server can't be reached, doesn't have the file or stops half-way, a checksum is
        wrong, the folder can't be written, or a broken copy comes first in the search.
    """
    if spec.remote is None:
        raise InputError(f"no address is known to fetch it from; {spec.remedy}", where=spec.kind)
    paths, trouble = spec.locate(to), ""
    if paths is not None:
        try:
            spec.check_whole(paths)
        except InputError as error:
            trouble = error.message
        else:
            return Fetched(paths, is_new=False)
    folder = (data_folder() if to is None else to.expanduser()) / spec.subfolders[0]
    for file in spec.remote.files:
        _retrieve(file, folder, _checked_base(base_url or spec.remote.base_url), spec.remote, progress)
    found = spec.locate(to)
    if found is None or found[0].parent != folder:
        assert paths is not None
        raise InputError(f"comes first in the search, before {folder}, and is broken: {trouble}", where=str(paths[0]))
    return Fetched(found, is_new=True)


def _checked_base(base_url: str) -> str:
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).netloc:
        raise InputError("must be an address that begins with http:// or https://", where=f"--url {base_url}")
    return base_url.rstrip("/")


def _retrieve(file: RemoteFile, folder: Path, base_url: str, remote: Remote, progress: Progress) -> None:
    import pooch

    url = f"{base_url}/{file.name}"
    download = _Resumable(folder / f"{file.name}.part", f"get the file from {remote.page} into {folder}", progress)
    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(url, known_hash=f"md5:{file.md5}", fname=file.name, path=folder, downloader=download)
    except ValueError as error:  # pooch's word for a wrong checksum; it has removed the file
        found = re.search(r"got ([0-9a-f]{32})", str(error))
        raise InputError(
            f"the MD5 is {found[1] if found else 'another'}, not {file.md5}: the file was damaged on its way, or isn't "
            f"what {remote.page} publishes; it was removed. Run again, or choose another --url",
            where=url,
        ) from error
    except OSError as error:
        raise InputError(
            f"can't be written: {error.strerror or error}; choose another --to", where=str(folder)
        ) from error


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Resumable:
    """A downloader for pooch that goes on with what an earlier attempt left in ``part``.

    pooch gives it a temporary file, compares the checksum of what it finds there afterwards, and moves or removes it.
    """

    def __init__(self, part: Path, remedy: str, progress: Progress) -> None:
        self._part, self._remedy, self._progress = part, remedy, progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Fill ``output_file`` with what is at ``url``.

        Raises
        ------
        InputError
            The server can't be reached, refuses, or stops half-way; ``part`` keeps what came.
        """
        have = self._part.stat().st_size if self._part.is_file() else 0
        request = Request(url, headers={"User-Agent": f"nmoe-sim/{__version__}", "Accept-Encoding": "identity"})
        if have:
            request.add_header("Range", f"bytes={have}-")
        try:
            with urlopen(request, timeout=TIMEOUT_S) as response:
                self._save(response, url, have)
        except HTTPError as error:
            if not (
                error.code == 416 and have
            ):  # nothing comes after what is there: the checksum tells whether it's all
                raise self._failed(url, f"the server answers {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            why = error.reason if isinstance(error, URLError) else error
            raise self._failed(url, f"can't be fetched: {why}", resume=True) from error
        self._part.replace(output_file)

    def _save(self, response: HTTPResponse, url: str, have: int) -> None:
        start = have if response.status == 206 else 0
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            self._part.unlink()
            raise self._failed(url, "the server sent another part of the file than it was asked for", resume=True)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        size = start
        with (
            self._progress(f"{self._part.stem} (MB)", math.ceil((total or 0) / _MB)) as advance,
            self._part.open("ab" if start else "wb") as file,
        ):
            for _ in range(start // _MB):
                advance()
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                for _ in range((size + len(chunk)) // _MB - size // _MB):
                    advance()
                size += len(chunk)
        if total is not None and size < total:
            raise self._failed(url, f"the connection closed after {size:,} of {total:,} bytes", resume=True)

    def _failed(self, url: str, what: str, *, resume: bool = False) -> InputError:
        again = "run again to go on from there, or " if resume else "choose another --url, or "
        return InputError(f"{what}; {again}{self._remedy}", where=url)
