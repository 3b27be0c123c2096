"""Data sets: images with labels, as NumPy arrays."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.idx import read_idx
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Family, Spec

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Parameters
    ----------
    train_x, test_x : ndarray of float32, shape (n, C, H, W)
        Images, values in [0, 1].
    train_y, test_y : ndarray of int64, shape (n,)
        Labels in 0..num_classes-1.
    num_classes : int
        Number of classes.
    """

    train_x: Images
    train_y: Labels
    test_x: Images
    test_y: Labels
    num_classes: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal: equal digests mean equal arrays."""
        sha = hashlib.sha256(f"{self.num_classes}".encode())
        for array in (self.train_x, self.train_y, self.test_x, self.test_y):
            sha.update(f"|{array.dtype.str}{array.shape}|".encode())
            sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()


class DatasetSpec(Spec):
    """Section ``data``; to add a data set, set the class constants and implement ``_read``.

    A subclass with files also overrides ``find``. The sizes are of the whole data set, before
    ``max_train`` and ``max_test``; leave them None where they aren't known beforehand.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    num_train: ClassVar[int | None] = None
    num_test: ClassVar[int | None] = None

    partition: Annotated[Any, Family("partition", default="dirichlet")]
    """How the training samples are split over the clients."""
    max_train: Count | None = None
    """Training samples kept, drawn without replacement; null: all."""
    max_test: Count | None = None
    """Test samples kept, drawn without replacement; null: all."""

    @field_validator("max_train", "max_test")
    @classmethod
    def _within_size(cls, value: int | None, info: ValidationInfo) -> int | None:
        size = cls.num_train if info.field_name == "max_train" else cls.num_test
        if value is not None and size is not None and value > size:
            raise ValueError(f"{value} samples of {size}; give at most {size}, or null for all")
        return value

    def num_train_kept(self) -> int | None:
        """Return the number of training samples ``load`` returns; None where it isn't known beforehand."""
        return self.max_train or self.num_train

    def find(self) -> tuple[Path, ...]:
        """Return the files this data set reads; needs no torch.

        Raises
        ------
        InputError
            A file isn't there.
        """
        return ()

    def load(self, streams: RandomStreams) -> Dataset:
        """Read the data set, split and thinned out by the seed.

        Parameters
        ----------
        streams : RandomStreams
            Streams ``data_split``, ``data_max_train`` and ``data_max_test`` are used.

        Raises
        ------
        InputError
            A file is missing or broken, or fewer samples exist than are asked for.
        """
        train_x, train_y, test_x, test_y = self._read(streams)
        train = _draw(len(train_y), self.max_train, streams, "max_train")
        test = _draw(len(test_y), self.max_test, streams, "max_test")
        return Dataset(train_x[train], train_y[train], test_x[test], test_y[test], self.num_classes)

    @abstractmethod
    def _read(self, streams: RandomStreams) -> tuple[Images, Labels, Images, Labels]:
        """Return train_x, train_y, test_x, test_y of the whole data set."""


def _draw(available: int, wanted: int | None, streams: RandomStreams, key: str) -> NDArray[np.int64] | slice:
    if wanted is None:
        return slice(None)
    if wanted > available:
        raise InputError(
            f"{wanted} samples of {available}; give at most {available}, or null for all", key=f"data.{key}"
        )
    drawn = streams.generator(f"data_{key}").choice(available, size=wanted, replace=False)
    return np.sort(drawn).astype(np.int64)


class Digits(DatasetSpec):
    """Handwritten digits, 8×8 grey, 10 classes, 1797 images; part of scikit-learn, so nothing to fetch.

    A quarter is the test set, drawn by the seed with each class in proportion. Source: E. Alpaydin and
    C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998 (its test part).
    """

    kind: ClassVar[str] = "digits"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    num_classes: ClassVar[int] = 10
    num_train: ClassVar[int | None] = 1347
    num_test: ClassVar[int | None] = 450

    def _read(self, streams: RandomStreams) -> tuple[Images, Labels, Images, Labels]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        x = (pixels / 16.0).astype(np.float32).reshape(-1, *self.input_shape)
        y = labels.astype(np.int64)
        seed = int(streams.generator("data_split").integers(2**32))
        train, test = train_test_split(np.arange(len(y)), test_size=self.num_test, stratify=y, random_state=seed)
        train, test = np.sort(train), np.sort(test)
        return x[train], y[train], x[test], y[test]


class FashionMnist(DatasetSpec):
    """Fashion-MNIST, 28×28 grey, 10 classes, 60 000 training and 10 000 test images, from four IDX files.

    Source: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST", arXiv 1708.07747.
    """

    kind: ClassVar[str] = "fashion_mnist"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    num_classes: ClassVar[int] = 10
    num_train: ClassVar[int | None] = 60_000
    num_test: ClassVar[int | None] = 10_000

    directory: str | None = Field(default=None, json_schema_extra={"machine_dependent": True})
    """Folder of the four files; null: NMOE_SIM_DATA_DIR, the user's data folder, /usr/share/datasets."""

    def find(self) -> tuple[Path, ...]:
        """Return the paths of the four files, in the order train and test, images before labels."""
        searched = [folder for root in self._roots() for folder in (root, *(root / name for name in _SUBFOLDERS))]
        for folder in searched:
            found = [_plain_or_gz(folder / stem) for stem in _STEMS]
            if None not in found:
                return tuple(path for path in found if path is not None)
        raise InputError(
            f"no folder holds the four files of Fashion-MNIST; searched {', '.join(map(str, searched))}; "
            "run 'apt-get install dataset-fashion-mnist' on Debian or Ubuntu, or download the four files from "
            "https://github.com/zalandoresearch/fashion-mnist and point data.directory or NMOE_SIM_DATA_DIR at them",
            key="data.directory",
        )

    def _roots(self) -> list[Path]:
        from platformdirs import user_data_path

        if self.directory is not None:
            return [Path(self.directory).expanduser()]
        roots = []
        if environment := os.environ.get("NMOE_SIM_DATA_DIR"):
            roots.append(Path(environment).expanduser())
        return [*roots, user_data_path("nmoe-sim", appauthor=False), _SYSTEM_FOLDER]

    def _read(self, streams: RandomStreams) -> tuple[Images, Labels, Images, Labels]:
        paths = self.find()
        train_x, train_y = self._read_pair(paths[0], paths[1])
        test_x, test_y = self._read_pair(paths[2], paths[3])
        return train_x, train_y, test_x, test_y

    def _read_pair(self, images: Path, labels: Path) -> tuple[Images, Labels]:
        x, y = read_idx(images, num_axes=3), read_idx(labels, num_axes=1)
        if x.shape[1:] != self.input_shape[1:]:
            raise InputError(f"{images}: images are {x.shape[1]}×{x.shape[2]}, not 28×28", key="data.directory")
        if len(x) != len(y):
            raise InputError(f"{labels}: {len(y)} labels for {len(x)} images of {images}", key="data.directory")
        if y.max() >= self.num_classes:
            raise InputError(f"{labels}: label {y.max()} is outside 0..{self.num_classes - 1}", key="data.directory")
        return (x.astype(np.float32) / np.float32(255))[:, None], y.astype(np.int64)


_SYSTEM_FOLDER = Path("/usr/share/datasets")
_SUBFOLDERS = ("fashion-mnist", "fashion_mnist")
_STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _plain_or_gz(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)
