"""What every data set is: images with labels, as NumPy arrays."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator, model_validator

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.augment import Affine
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import Count
from nmoe_sim.scenario.spec import Family, Spec

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8]
"""Images as files hold them: values in 0..255."""
Arrays = tuple[Images | Pixels, Labels, Images | Pixels, Labels]
"""train_x, train_y, test_x, test_y of a whole data set."""


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

    One with files derives from ``FileDatasetSpec``. The sizes are of the whole data set, before
    ``max_train`` and ``max_test``; leave them None where they aren't known beforehand.
    """

    input_shape: ClassVar[tuple[int, int, int]]
    num_classes: ClassVar[int]
    num_train: ClassVar[int | None] = None
    num_test: ClassVar[int | None] = None
    source: ClassVar[str] = ""
    """Who made it and under which licence, for ``nmoe-sim data list``."""

    partition: Annotated[Any, Family("partition", default="dirichlet")]
    """How the training samples are split over the clients."""
    feature_skew: Annotated[Any, Family("feature_skew", default="none")]
    """How each client's images differ from those of the data set."""
    augmentation: Annotated[Any, Family("augmentation")] = Affine()
    """Random views of an image, for training without labels; each data set has its own default."""
    max_train: Count | None = None
    """Training samples kept, drawn without replacement; null: all."""
    max_test: Count | None = None
    """Test samples kept, drawn without replacement; null: all."""
    evaluate_on: Literal["test", "validation"] = "test"
    """What accuracies are measured on. ``validation``: ``max_test`` of the training samples, drawn without replacement,
    which training then doesn't see; choose settings on these, and report what they reach on the test samples."""

    @field_validator("max_train")
    @classmethod
    def _within_size(cls, value: int | None) -> int | None:
        return cls._at_most(value, cls.num_train)

    @classmethod
    def _at_most(cls, value: int | None, size: int | None) -> int | None:
        if value is not None and size is not None and value > size:
            raise ValueError(f"{value} samples of {size}; give at most {size}, or null for all")
        return value

    @model_validator(mode="after")
    def _validation_leaves_enough(self) -> DatasetSpec:
        if self.evaluate_on == "test":
            self._at_most(self.max_test, self.num_test)
            return self
        if self.max_test is None:
            raise ValueError(
                "evaluate_on 'validation' takes max_test training samples, and max_test is null; set it, as to 1000"
            )
        left = None if self.num_train is None else self.num_train - self.max_test
        if left is not None and left < (self.max_train or 1):
            raise ValueError(
                f"evaluate_on 'validation' takes {self.max_test} of {self.num_train} training samples, which leaves "
                f"{left} of {self.max_train or 1}; lower max_test{' or max_train' if self.max_train else ''}"
            )
        return self

    def num_train_kept(self) -> int | None:
        """Return the number of training samples ``load`` returns; None where it isn't known beforehand."""
        if self.max_train is not None or self.num_train is None:
            return self.max_train
        return self.num_train - (0 if self.evaluate_on == "test" else self.max_test or 0)

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
            Streams ``data_split``, ``data_validation``, ``data_max_train`` and ``data_max_test`` are used.

        Raises
        ------
        InputError
            A file is missing or broken, or fewer samples exist than are asked for.
        """
        train_x, train_y, test_x, test_y = self._read(streams)
        if self.evaluate_on == "validation":
            held_out = np.zeros(len(train_y), dtype=bool)
            held_out[_draw(len(train_y), self.max_test, streams, "max_test", "validation")] = True
            test_x, test_y, train_x, train_y = (
                train_x[held_out],
                train_y[held_out],
                train_x[~held_out],
                train_y[~held_out],
            )
        train = _draw(len(train_y), self.max_train, streams, "max_train")
        test = _draw(len(test_y), self.max_test, streams, "max_test")
        return Dataset(_scaled(train_x[train]), train_y[train], _scaled(test_x[test]), test_y[test], self.num_classes)

    @abstractmethod
    def _read(self, streams: RandomStreams) -> Arrays:
        """Return train_x, train_y, test_x, test_y of the whole data set, images as ``Images`` or ``Pixels``."""


def _draw(
    available: int, wanted: int | None, streams: RandomStreams, key: str, purpose: str | None = None
) -> NDArray[np.int64] | slice:
    if wanted is None:
        return slice(None)
    if wanted > available:
        raise InputError(
            f"{wanted} samples of {available}; give at most {available}, or null for all", key=f"data.{key}"
        )
    drawn = streams.generator(f"data_{purpose or key}").choice(available, size=wanted, replace=False)
    return np.sort(drawn).astype(np.int64)


def _scaled(images: Images | Pixels) -> Images:
    """Return images with values in [0, 1]; what is thinned out before takes no memory."""
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)
