"""Fashion-MNIST, from its four IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.augment import CropJitter
from nmoe_sim.nmoe.datasets.base import Arrays, Labels, Pixels
from nmoe_sim.nmoe.datasets.files import FileDatasetSpec, Remote, RemoteFile
from nmoe_sim.nmoe.idx import read_idx
from nmoe_sim.scenario.spec import Family


class FashionMnist(FileDatasetSpec):
    """Fashion-MNIST, 28×28 grey, 10 classes, 60 000 training and 10 000 test images, from four IDX files.

    The files may be as published, with the ending .gz, or unpacked. Source: H. Xiao, K. Rasul and R. Vollgraf,
    "Fashion-MNIST", arXiv 1708.07747; addresses and MD5 from the README of github.com/zalandoresearch/fashion-mnist.
    """

    kind: ClassVar[str] = "fashion_mnist"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)
    num_classes: ClassVar[int] = 10
    num_train: ClassVar[int | None] = 60_000
    num_test: ClassVar[int | None] = 10_000
    source: ClassVar[str] = "Zalando SE, MIT licence"
    subfolders: ClassVar[tuple[str, ...]] = ("fashion_mnist", "fashion-mnist")
    remote: ClassVar[Remote | None] = Remote(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist",
        (
            RemoteFile("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
            RemoteFile("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
            RemoteFile("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
            RemoteFile("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        ),
    )
    remedy: ClassVar[str] = (
        "run 'nmoe-sim data fetch fashion_mnist', or 'apt-get install dataset-fashion-mnist' on Debian or Ubuntu"
    )

    augmentation: Annotated[Any, Family("augmentation")] = CropJitter(min_area=0.5)
    """Random views of an image, for training without labels; milder crops than of photographs, found by trial."""

    @classmethod
    def paths_in(cls, folder: Path) -> tuple[Path, ...] | None:
        """Return the paths of the four files, in the order train and test, images before labels."""
        stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        found = [_gz_or_plain(folder / f"{stem}-ubyte") for stem in stems]
        paths = tuple(path for path in found if path is not None)
        return paths if len(paths) == len(stems) else None

    @classmethod
    def read_files(cls, paths: tuple[Path, ...]) -> Arrays:
        """Return the whole data set, images as (n, 1, 28, 28)."""
        return *cls._read_pair(*paths[:2]), *cls._read_pair(*paths[2:])

    @classmethod
    def _read_pair(cls, images: Path, labels: Path) -> tuple[Pixels, Labels]:
        x, y = read_idx(images, num_axes=3), read_idx(labels, num_axes=1)
        if x.shape[1:] != cls.input_shape[1:]:
            raise InputError(f"{images}: images are {x.shape[1]}×{x.shape[2]}, not 28×28", key="data.directory")
        if len(x) != len(y):
            raise InputError(f"{labels}: {len(y)} labels for {len(x)} images of {images}", key="data.directory")
        if y.max() >= cls.num_classes:
            raise InputError(f"{labels}: label {y.max()} is outside 0..{cls.num_classes - 1}", key="data.directory")
        return x[:, None], y.astype(np.int64)


def _gz_or_plain(path: Path) -> Path | None:
    """Return the file as published where there is one, so that a file fetched takes the place of a broken one."""
    return next((p for p in (path.with_name(path.name + ".gz"), path) if p.is_file()), None)
