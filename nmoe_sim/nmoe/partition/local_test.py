"""Which rows of the common test set are each client's local test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from nmoe_sim.nmoe.partition.base import Indices


def matching_test_split(
    train_parts: Sequence[Indices],
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    num_classes: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """Give each client test samples distributed over the classes as its training samples are.

    Each class of the test set is split over the clients in proportion to the training samples they
    hold of it, by largest remainders with ties broken at random.

    Parameters
    ----------
    train_parts : sequence of ndarray of int64
        Training samples of each client.
    train_labels, test_labels : array_like of int
        Labels of the whole training and test set.
    num_classes : int
        Number of classes.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    list of ndarray of int64
        Sorted test indices of each client; disjoint. Together they are all test samples of the classes that
        some client holds. A client with few training samples may get none.
    """
    y_train, y_test = np.asarray(train_labels), np.asarray(test_labels)
    held = np.stack([np.bincount(y_train[part], minlength=num_classes) for part in train_parts])
    parts: list[list[Indices]] = [[np.empty(0, dtype=np.int64)] for _ in train_parts]
    for label in range(num_classes):
        total = held[:, label].sum()
        if total == 0:
            continue
        members = rng.permutation(np.flatnonzero(y_test == label))
        whole, remainder = np.divmod(held[:, label] * len(members), total)
        order = np.lexsort((rng.random(len(remainder)), -remainder))
        whole[order[: len(members) - whole.sum()]] += 1
        for part, piece in zip(parts, np.split(members, np.cumsum(whole)[:-1]), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(pieces)) for pieces in parts]
