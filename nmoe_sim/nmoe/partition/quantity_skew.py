"""Quantity skew: clients hold different numbers of samples, of all classes alike."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from nmoe_sim.nmoe.partition.base import Indices, PartitionSpec
from nmoe_sim.scenario.quantities import Count


class QuantitySkew(PartitionSpec):
    """Sizes follow a law, samples are drawn at random whatever their class; subclasses implement ``shares``.

    Every client gets ``min_samples``, and of the n - N min_samples others its share:

        n_i = min_samples + share_i (n - N min_samples),

    rounded so that the sizes add up to n. So any draw of the shares can be met, where drawing until the smallest
    client is large enough, as is often done, may not end and bends the law. The floor is our interpretation.
    """

    min_samples: Count = 10
    """Fewest training samples a client may have."""

    @abstractmethod
    def shares(self, num_clients: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return each client's share, at least 0, adding up to 1; shape (num_clients,)."""

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
        """Split a random permutation at the sizes the law gives; all samples are handed out."""
        num_samples = len(np.asarray(labels))
        self._check_data(num_clients, num_classes, num_samples)
        spare = num_samples - num_clients * self.min_samples
        inner = np.rint(spare * np.cumsum(self.shares(num_clients, rng))[:-1]).astype(np.int64)
        ends = np.minimum(inner, spare) + self.min_samples * np.arange(1, num_clients)
        return [np.sort(part) for part in np.split(rng.permutation(num_samples), ends)]


class QuantityDirichlet(QuantitySkew):
    """Shares drawn from Dirichlet(α, …, α): their coefficient of variation is √((N-1)/(Nα+1)).

    As the quantity skew of Q. Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022.
    """

    kind: ClassVar[str] = "quantity_dirichlet"

    alpha: Annotated[float, Field(ge=1e-3, le=1e6)] = 0.5
    """Concentration: small is skewed, large is even."""

    def shares(self, num_clients: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """See the base class."""
        return rng.dirichlet(np.full(num_clients, self.alpha))


class QuantityLogNormal(QuantitySkew):
    """Shares proportional to exp(σ z), z standard normal: most clients have little, a few have much."""

    kind: ClassVar[str] = "quantity_log_normal"

    sigma: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Standard deviation of the logarithm of a client's size above the floor; 0 is even."""

    def shares(self, num_clients: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """See the base class."""
        sizes: NDArray[np.float64] = np.exp(self.sigma * rng.standard_normal(num_clients))
        sizes /= sizes.sum()
        return sizes


class QuantityPowerLaw(QuantitySkew):
    """Shares proportional to rank^(-exponent), the ranks 1..N dealt to the clients at random (Zipf's law at 1)."""

    kind: ClassVar[str] = "quantity_power_law"

    exponent: Annotated[float, Field(ge=0, le=10)] = 1.0
    """How steeply sizes fall with rank; 0 is even."""

    def shares(self, num_clients: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """See the base class."""
        sizes: NDArray[np.float64] = rng.permutation(np.arange(1.0, num_clients + 1)) ** -self.exponent
        sizes /= sizes.sum()
        return sizes
