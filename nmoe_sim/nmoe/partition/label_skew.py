"""Label skew: clients hold the classes in different proportions."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.partition.base import Indices, PartitionSpec
from nmoe_sim.scenario.quantities import Count

_MAX_DRAWS = 1000


class Dirichlet(PartitionSpec):
    """Label skew: each class is split over the clients by shares drawn from Dirichlet(α, …, α).

    As in M. Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks", ICML
    2019. The whole split is drawn again while a client has fewer than ``min_samples``, so client
    sizes follow the law conditioned on that.
    """

    kind: ClassVar[str] = "dirichlet"

    alpha: Annotated[float, Field(ge=1e-3, le=1e6)] = 0.3
    """Concentration: small is skewed, large is IID."""
    min_samples: Count = 10
    """Fewest training samples a client may have."""

    def check(self, num_clients: int, num_classes: int, num_samples: int | None = None) -> None:
        """Refuse fewer samples than ``min_samples`` for every client."""
        super().check(num_clients, num_classes, num_samples)
        if num_samples is not None and num_samples < num_clients * self.min_samples:
            raise ValueError(
                f"{num_samples} training samples can't give each of {num_clients} clients min_samples "
                f"{self.min_samples}; lower min_samples, take fewer clients or raise data.max_train"
            )

    def assign(
        self, labels: ArrayLike, *, num_clients: int, num_classes: int, rng: np.random.Generator
    ) -> list[Indices]:
        """Split each class by Dirichlet shares; all samples are handed out."""
        y = np.asarray(labels)
        self._check_data(num_clients, num_classes, len(y))
        classes = [np.flatnonzero(y == label) for label in range(num_classes)]
        counts = np.array([len(members) for members in classes])
        for _ in range(_MAX_DRAWS):
            shares = rng.dirichlet(np.full(num_clients, self.alpha), size=num_classes)
            ends = np.rint(np.cumsum(shares, axis=1) * counts[:, None]).astype(np.int64)
            ends[:, -1] = counts
            sizes = np.diff(ends, axis=1, prepend=0).sum(axis=0)
            if sizes.min() >= self.min_samples:
                pieces = [np.split(rng.permutation(m), e[:-1]) for m, e in zip(classes, ends, strict=True)]
                return [np.sort(np.concatenate(of_client)) for of_client in zip(*pieces, strict=True)]
        raise InputError(
            f"no split of {len(y)} samples over {num_clients} clients with alpha {self.alpha:g} gave each client "
            f"{self.min_samples} samples in {_MAX_DRAWS} draws; raise alpha, lower min_samples or take fewer clients",
            key="data.partition.min_samples",
        )


class Shards(PartitionSpec):
    """Each client holds exactly ``classes_per_client`` classes; a class is split evenly among its holders.

    Classes are dealt so that the numbers of their holders differ by at most one. So every class is
    held when ``num_clients * classes_per_client >= num_classes``; otherwise some are left out, samples and all.
    """

    kind: ClassVar[str] = "shards"

    classes_per_client: Count = 2
    """Classes of each client."""

    def classes_held(self, num_clients: int, num_classes: int) -> int:
        """Return how many classes have samples at some client."""
        return min(num_classes, num_clients * self.classes_per_client)

    def check(self, num_clients: int, num_classes: int, num_samples: int | None = None) -> None:
        """Refuse more classes for a client than there are."""
        super().check(num_clients, num_classes, num_samples)
        if self.classes_per_client > num_classes:
            raise ValueError(
                f"classes_per_client {self.classes_per_client} is more than the data set's {num_classes} classes; "
                f"give at most {num_classes}"
            )

    def assign(
        self, labels: ArrayLike, *, num_clients: int, num_classes: int, rng: np.random.Generator
    ) -> list[Indices]:
        """Deal classes to clients, then split each among its holders."""
        y = np.asarray(labels)
        self._check_data(num_clients, num_classes, len(y))
        holders: list[list[int]] = [[] for _ in range(num_classes)]
        for client in rng.permutation(num_clients):
            load = np.array([len(clients) for clients in holders])
            for label in np.lexsort((rng.random(num_classes), load))[: self.classes_per_client]:
                holders[label].append(int(client))
        parts: list[list[Indices]] = [[] for _ in range(num_clients)]
        for label, clients in enumerate(holders):
            members = np.flatnonzero(y == label)
            if len(members) < len(clients):
                raise InputError(
                    f"class {label} has {len(members)} training samples for {len(clients)} holders; take fewer "
                    "clients, lower classes_per_client or raise data.max_train",
                    key="data.partition.classes_per_client",
                )
            for client, piece in zip(
                clients, np.array_split(rng.permutation(members), len(clients) or 1), strict=False
            ):
                parts[client].append(piece)
        return [np.sort(np.concatenate(pieces)) for pieces in parts]
