"""Family ``server_update``: how the server goes from its model towards the clients' mean.

The mean is turned into a pseudo-gradient Δ = mean − current, and that into a step. Plain arithmetic on states.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from nmoe_sim.nmoe.cohort import State

Beta = Annotated[float, Field(ge=0, lt=1)]


class ServerUpdateSpec(Spec):
    """Base of the family: implement ``step``."""

    @abstractmethod
    def step(self, current: State, mean: State, memory: State) -> tuple[State, State]:
        """Move the server's model; nothing given is changed.

        Parameters
        ----------
        current : State
            The server's model; may hold tensors that aren't in ``mean``.
        mean : State
            The clients' average, of what is to move.
        memory : State
            What the last step returned; empty at first.

        Returns
        -------
        moved : State
            The new values of the tensors of ``mean``.
        memory : State
            For the next step: ``m.NAME`` and ``v.NAME``.
        """


class Average(ServerUpdateSpec):
    """The mean is the new model: FedAvg (McMahan et al. 2017)."""

    kind: ClassVar[str] = "average"

    def step(self, current: State, mean: State, memory: State) -> tuple[State, State]:
        """See the base class."""
        return mean, memory


class FedAvgM(ServerUpdateSpec):
    """Momentum at the server: m ← β m + Δ, x ← x + lr m.

    Source: Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", 2019, arXiv 1909.06335.
    """

    kind: ClassVar[str] = "fedavgm"

    lr: Positive = 1.0
    """Learning rate of the server."""
    beta: Beta = 0.9
    """Momentum."""

    def step(self, current: State, mean: State, memory: State) -> tuple[State, State]:
        """See the base class."""
        moved: State = {}
        kept: State = {}
        for name, target in mean.items():
            delta = target - current[name]
            kept[f"m.{name}"] = m = self.beta * memory[f"m.{name}"] + delta if memory else delta
            moved[name] = current[name] + self.lr * m
        return moved, kept


class AdaptiveServer(ServerUpdateSpec):
    """What FedAdam, FedYogi and FedAdagrad share: implement ``second_moment``.

        m ← β1 m + (1 − β1) Δ
        v ← second_moment(v, Δ²)
        x ← x + lr m / (√v + τ)

    elementwise, from m = 0 and v = τ². As in the paper, there is no bias correction.

    Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, arXiv 2003.00295, Algorithm 2. It takes Δ
    from the unweighted mean of clients; here the weights are the caller's.
    """

    lr: Positive = 0.01
    """Learning rate of the server: about the step of a weight in a round."""
    beta_1: Beta = 0.9
    """Share of the old m in the new."""
    tau: Positive = 1e-3
    """Adaptivity: the smaller, the more small and large changes get steps of one size."""

    @abstractmethod
    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """Return the new v, given the old one and Δ²."""

    def step(self, current: State, mean: State, memory: State) -> tuple[State, State]:
        """See the base class."""
        import torch

        moved: State = {}
        kept: State = {}
        for name, target in mean.items():
            delta = target - current[name]
            m = memory[f"m.{name}"] if memory else torch.zeros_like(delta)
            v = memory[f"v.{name}"] if memory else torch.full_like(delta, self.tau**2)
            kept[f"m.{name}"] = m = self.beta_1 * m + (1 - self.beta_1) * delta
            kept[f"v.{name}"] = v = self.second_moment(v, delta.square())
            moved[name] = current[name] + self.lr * m / (v.sqrt() + self.tau)
        return moved, kept


class FedAdam(AdaptiveServer):
    """FedAdam (see ``AdaptiveServer``): v ← β2 v + (1 − β2) Δ²."""

    kind: ClassVar[str] = "fedadam"

    beta_2: Beta = 0.99
    """Share of the old v in the new."""

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """See the base class."""
        return self.beta_2 * v + (1 - self.beta_2) * square


class FedYogi(AdaptiveServer):
    """FedYogi (see ``AdaptiveServer``): v ← v − (1 − β2) Δ² sign(v − Δ²), so v falls slowly."""

    kind: ClassVar[str] = "fedyogi"

    beta_2: Beta = 0.99
    """1 − β2 is the share of Δ² that v moves by."""

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """See the base class."""
        return v - (1 - self.beta_2) * square * (v - square).sign()


class FedAdagrad(AdaptiveServer):
    """FedAdagrad (see ``AdaptiveServer``): v ← v + Δ²."""

    kind: ClassVar[str] = "fedadagrad"

    beta_1: Beta = 0.0
    """Share of the old m in the new."""

    def second_moment(self, v: Tensor, square: Tensor) -> Tensor:
        """See the base class."""
        return v + square
