"""What every partition is, and the plainest one."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.spec import Spec

Indices = NDArray[np.int64]
"""Sorted sample indices of one client."""


class PartitionSpec(Spec):
    """How the training samples are split over the clients; subclasses implement ``assign``."""

    def check(self, num_clients: int, num_classes: int, num_samples: int | None = None) -> None:
        """Refuse a setting that can't be met, before any data is read.

        Parameters
        ----------
        num_clients, num_classes : int
            Clients, and classes of the data set.
        num_samples : int, optional
            Training samples, where their number is known beforehand.

        Raises
        ------
        ValueError
            The rule that is broken, and the remedy.
        """
        if num_samples is not None and num_samples < num_clients:
            raise ValueError(
                f"{num_samples} training samples can't give each of {num_clients} clients one; "
                "take fewer clients or raise data.max_train"
            )

    def classes_held(self, num_clients: int, num_classes: int) -> int:
        """Return how many classes have samples at some client."""
        return num_classes

    @abstractmethod
    def assign(
        self, labels: ArrayLike, *, num_clients: int, num_classes: int, rng: np.random.Generator
    ) -> list[Indices]:
        """Split the samples.

        Parameters
        ----------
        labels : array_like of int, shape (n,)
            Labels in 0..num_classes-1.
        num_clients, num_classes : int
            Clients, and classes of the data set.
        rng : numpy.random.Generator
            Source of the draws.

        Returns
        -------
        list of ndarray of int64
            Sorted sample indices of each client; disjoint, none empty. All samples are handed out,
            except by ``shards`` those of classes that no client holds.

        Raises
        ------
        InputError
            The labels don't allow the setting.
        """

    def _check_data(self, num_clients: int, num_classes: int, num_samples: int) -> None:
        try:
            self.check(num_clients, num_classes, num_samples)
        except ValueError as error:
            raise InputError(str(error), key="data.partition") from error


class Iid(PartitionSpec):
    """Equal shares (sizes differ by at most one) of a random permutation."""

    kind: ClassVar[str] = "iid"

    def assign(
        self, labels: ArrayLike, *, num_clients: int, num_classes: int, rng: np.random.Generator
    ) -> list[Indices]:
        """Split the samples evenly at random; all are handed out."""
        num_samples = len(np.asarray(labels))
        self._check_data(num_clients, num_classes, num_samples)
        return [np.sort(part) for part in np.array_split(rng.permutation(num_samples), num_clients)]
