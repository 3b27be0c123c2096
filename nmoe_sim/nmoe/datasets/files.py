"""Data sets read from files: where they are looked for, and where they can be fetched."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.datasets.base import Arrays, DatasetSpec
from nmoe_sim.rng import RandomStreams

ENVIRONMENT = "NMOE_SIM_DATA_DIR"
"""Environment variable that names the first folder to look in, and to fetch into."""
_SYSTEM_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True)
class RemoteFile:
    """A file as its authors publish it: name, MD5 in hexadecimal, size."""

    name: str
    md5: str
    num_bytes: int


@dataclass(frozen=True)
class Remote:
    """Where a data set can be fetched.

    Parameters
    ----------
    base_url : str
        What comes before the file names, without the last slash.
    page : str
        Page of the data set, which lists the checksums.
    files : tuple of RemoteFile
    """

    base_url: str
    page: str
    files: tuple[RemoteFile, ...]


class FileDatasetSpec(DatasetSpec):
    """A data set read from files; to add one, also set ``subfolders`` and implement ``paths_in`` and ``read_files``.

    Files are looked for in ``directory`` alone if it is set, else in the folder that NMOE_SIM_DATA_DIR names, the
    user's data folder and /usr/share/datasets; in each of them first in the folder itself, then in ``subfolders``.
    """

    subfolders: ClassVar[tuple[str, ...]]
    """Names of the folder that may hold the files; it is fetched into the first."""
    remote: ClassVar[Remote | None] = None
    """Where to fetch it; None: not from here."""
    remedy: ClassVar[str] = "get its files"
    """What a user without the files can do, in the imperative."""

    directory: str | None = Field(default=None, json_schema_extra={"machine_dependent": True})
    """Folder of the files; null: NMOE_SIM_DATA_DIR, the user's data folder, /usr/share/datasets."""

    @classmethod
    @abstractmethod
    def paths_in(cls, folder: Path) -> tuple[Path, ...] | None:
        """Return the paths of the files in a folder, None where not all are there."""

    @classmethod
    @abstractmethod
    def read_files(cls, paths: tuple[Path, ...]) -> Arrays:
        """Return the whole data set.

        Raises
        ------
        InputError
            A file is broken: which, what was expected, what was found, and what to do.
        """

    @classmethod
    def searched(cls, directory: str | Path | None = None) -> Iterator[Path]:
        """Yield the folders to look in, in order."""
        for root in [Path(directory).expanduser()] if directory is not None else _roots():
            yield root
            yield from (root / name for name in cls.subfolders)

    @classmethod
    def locate(cls, directory: str | Path | None = None) -> tuple[Path, ...] | None:
        """Return the paths of the first copy there is, None where there is none."""
        return next((paths for folder in cls.searched(directory) if (paths := cls.paths_in(folder))), None)

    @classmethod
    def check_whole(cls, paths: tuple[Path, ...]) -> None:
        """Read a copy.

        Raises
        ------
        InputError
            It is broken, or holds fewer samples than the data set has.
        """
        _, train_y, _, test_y = cls.read_files(paths)
        if (len(train_y), len(test_y)) != (cls.num_train, cls.num_test):
            found = f"{len(train_y)} training and {len(test_y)} test images"
            raise InputError(
                f"{paths[0].parent}: {found}, not {cls.num_train} and {cls.num_test}", key="data.directory"
            )

    def find(self) -> tuple[Path, ...]:
        """Return the paths of the files, in the order ``read_files`` takes them."""
        paths = self.locate(self.directory)
        if paths is None:
            source = "" if self.remote is None else f" of what {self.remote.page} has"
            raise InputError(
                f"no folder holds {type(self).kind}; searched {', '.join(map(str, self.searched(self.directory)))}; "
                f"{self.remedy}, or point data.directory or {ENVIRONMENT} at a copy{source}",
                key="data.directory",
            )
        return paths

    def _read(self, streams: RandomStreams) -> Arrays:
        return self.read_files(self.find())


def data_folder() -> Path:
    """Return the folder that data sets are fetched into: NMOE_SIM_DATA_DIR, else the user's data folder."""
    return _roots()[0]


def _roots() -> list[Path]:
    from platformdirs import user_data_path

    named = os.environ.get(ENVIRONMENT)
    roots = [Path(named).expanduser()] if named else []
    return [*roots, user_data_path("nmoe-sim", appauthor=False), _SYSTEM_FOLDER]
