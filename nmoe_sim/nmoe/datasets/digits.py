"""Handwritten digits that need no file."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.nmoe.datasets.base import Arrays, DatasetSpec
from nmoe_sim.rng import RandomStreams


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
    source: ClassVar[str] = "UCI Machine Learning Repository, CC BY 4.0; a copy is part of scikit-learn"

    def _read(self, streams: RandomStreams) -> Arrays:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        x = (pixels / 16.0).astype(np.float32).reshape(-1, *self.input_shape)
        y = labels.astype(np.int64)
        seed = int(streams.generator("data_split").integers(2**32))
        train, test = train_test_split(np.arange(len(y)), test_size=self.num_test, stratify=y, random_state=seed)
        train, test = np.sort(train), np.sort(test)
        return x[train], y[train], x[test], y[test]
