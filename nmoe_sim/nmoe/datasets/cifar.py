"""CIFAR-10 and CIFAR-100, from their binary version: nothing is unpickled."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.augment import CropJitter
from nmoe_sim.nmoe.datasets.base import Arrays, Labels, Pixels
from nmoe_sim.nmoe.datasets.files import FileDatasetSpec, Remote, RemoteFile
from nmoe_sim.scenario.spec import Family

_URL = "https://www.cs.toronto.edu/~kriz"
_PAGE = f"{_URL}/cifar.html"
_REMEDY = "run 'nmoe-sim data fetch {}' (the binary version; the Python version is pickled and isn't read)"
_PIXEL_BYTES = 3072


class Cifar(FileDatasetSpec):
    """What the CIFAR data sets share: files of records, each the labels (a byte each) and 3072 bytes of pixels.

    A record's pixels are the red, green and blue planes of 32×32, row by row. The copy may be the archive as
    published, which is read without being unpacked, or the folder that it unpacks to. Source: A. Krizhevsky,
    "Learning Multiple Layers of Features from Tiny Images", 2009, and the page, which the MD5 are from.
    """

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    source: ClassVar[str] = "A. Krizhevsky, V. Nair and G. Hinton, 2009; no licence stated, to be cited"
    train_files: ClassVar[tuple[str, ...]]
    test_file: ClassVar[str]
    num_label_bytes: ClassVar[int]
    label_byte: ClassVar[int]
    """Which of them is the label."""
    folder: ClassVar[str]
    """The folder in the archive."""

    augmentation: Annotated[Any, Family("augmentation")] = CropJitter()
    """Random views of an image, for training without labels."""

    @classmethod
    def paths_in(cls, folder: Path) -> tuple[Path, ...] | None:
        """Return the path of the archive, or of its files unpacked, training files before the test file."""
        assert cls.remote is not None
        if (archive := folder / cls.remote.files[0].name).is_file():
            return (archive,)
        paths = tuple(folder / name for name in cls._num_records())
        return paths if all(path.is_file() for path in paths) else None

    @classmethod
    def read_files(cls, paths: tuple[Path, ...]) -> Arrays:
        """Return the whole data set, images as (n, 3, 32, 32)."""
        try:
            contents = cls._packed(paths[0]) if len(paths) == 1 else cls._unpacked(paths)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise cls._broken(f"{paths[0]}: can't be read: {error}{cls._against_published(paths[0])}") from error
        parts = {name: cls._records(where, content) for name, (where, content) in contents.items()}
        images, labels = zip(*(parts[name] for name in cls.train_files), strict=True)
        return np.concatenate(images), np.concatenate(labels), *parts[cls.test_file]

    @classmethod
    def _num_records(cls) -> dict[str, int]:
        """Return the records of each file, training files first."""
        assert cls.num_train is not None
        assert cls.num_test is not None
        return {**dict.fromkeys(cls.train_files, cls.num_train // len(cls.train_files)), cls.test_file: cls.num_test}

    @classmethod
    def _packed(cls, archive: Path) -> dict[str, tuple[str, bytes]]:
        """Read the members that are wanted, in the order they come in; no other is looked at, and none is unpacked."""
        wanted = {f"{cls.folder}/{name}": name for name in cls._num_records()}
        contents: dict[str, tuple[str, bytes]] = {}
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                if (name := wanted.get(member.name)) is None or not member.isfile():
                    continue
                where = f"{archive}: {member.name}"
                cls._check_size(where, name, member.size)
                file = tar.extractfile(member)
                assert file is not None
                contents[name] = (where, file.read())
        if missing := [path for path, name in wanted.items() if name not in contents]:
            raise cls._broken(f"{archive}: holds no {missing[0]}{cls._against_published(archive)}")
        return contents

    @classmethod
    def _unpacked(cls, paths: tuple[Path, ...]) -> dict[str, tuple[str, bytes]]:
        for path in paths:
            cls._check_size(str(path), path.name, path.stat().st_size)
        return {path.name: (str(path), path.read_bytes()) for path in paths}

    @classmethod
    def _check_size(cls, where: str, name: str, num_bytes: int) -> None:
        num, each = cls._num_records()[name], cls.num_label_bytes + _PIXEL_BYTES
        if num_bytes != num * each:
            raise cls._broken(f"{where}: {num_bytes:,} bytes, not the {num * each:,} of {num:,} records of {each:,}")

    @classmethod
    def _records(cls, where: str, content: bytes) -> tuple[Pixels, Labels]:
        rows = np.frombuffer(content, np.uint8).reshape(-1, cls.num_label_bytes + _PIXEL_BYTES)
        labels = rows[:, cls.label_byte].astype(np.int64)
        if (largest := int(labels.max())) >= cls.num_classes:
            row = int(labels.argmax())
            raise cls._broken(f"{where}: label {largest} of record {row} is outside 0..{cls.num_classes - 1}")
        return rows[:, cls.num_label_bytes :].reshape(-1, *cls.input_shape), labels

    @classmethod
    def _against_published(cls, path: Path) -> str:
        """Say how large an archive is, and how large the published one."""
        assert cls.remote is not None
        published = cls.remote.files[0]
        if path.name != published.name or not path.is_file():
            return ""
        return f"; it has {path.stat().st_size:,} bytes, the published one {published.num_bytes:,}"

    @classmethod
    def _broken(cls, what: str) -> InputError:
        return InputError(f"{what}; remove it and run 'nmoe-sim data fetch {cls.kind}'", key="data.directory")


class Cifar10(Cifar):
    """CIFAR-10, 32×32 colour, 10 classes, 50 000 training and 10 000 test images, from the binary version."""

    kind: ClassVar[str] = "cifar10"
    num_classes: ClassVar[int] = 10
    num_train: ClassVar[int | None] = 50_000
    num_test: ClassVar[int | None] = 10_000
    subfolders: ClassVar[tuple[str, ...]] = ("cifar10", "cifar-10-batches-bin")
    remote: ClassVar[Remote | None] = Remote(
        _URL, _PAGE, (RemoteFile("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),)
    )
    remedy: ClassVar[str] = _REMEDY.format("cifar10")
    folder: ClassVar[str] = "cifar-10-batches-bin"
    train_files: ClassVar[tuple[str, ...]] = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    test_file: ClassVar[str] = "test_batch.bin"
    num_label_bytes: ClassVar[int] = 1
    label_byte: ClassVar[int] = 0


class Cifar100(Cifar):
    """CIFAR-100 by its fine labels, 32×32 colour, 100 classes, 50 000 training and 10 000 test images."""

    kind: ClassVar[str] = "cifar100"
    num_classes: ClassVar[int] = 100
    num_train: ClassVar[int | None] = 50_000
    num_test: ClassVar[int | None] = 10_000
    subfolders: ClassVar[tuple[str, ...]] = ("cifar100", "cifar-100-binary")
    remote: ClassVar[Remote | None] = Remote(
        _URL, _PAGE, (RemoteFile("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 168_513_733),)
    )
    remedy: ClassVar[str] = _REMEDY.format("cifar100")
    folder: ClassVar[str] = "cifar-100-binary"
    train_files: ClassVar[tuple[str, ...]] = ("train.bin",)
    test_file: ClassVar[str] = "test.bin"
    num_label_bytes: ClassVar[int] = 2
    label_byte: ClassVar[int] = 1


class Cifar100Coarse(Cifar100):
    """CIFAR-100 by its coarse labels: the same images in 20 superclasses of five fine classes each."""

    kind: ClassVar[str] = "cifar100_coarse"
    num_classes: ClassVar[int] = 20
    label_byte: ClassVar[int] = 0
