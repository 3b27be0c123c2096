"""Family ``privacy``: what a client's update may tell about it, and what correlation matrices may.

Derivations, and what is protected against whom: docs/explanation/privacy.md.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from nmoe_sim.errors import RunError
from nmoe_sim.nmoe.accounting import check_library, gaussian_epsilon, gaussian_noise_multiplier
from nmoe_sim.scenario.quantities import NonNegative, Positive
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch

    from nmoe_sim.nmoe.cohort import State


class PrivacySpec(Spec):
    """Base of the family: implement ``clip``, ``noise`` and ``epsilon``.

    The server clips each update that arrived, as it decoded it, takes the mean, adds noise.
    """

    @property
    def equal_weights(self) -> bool:
        """Whether the mean must weigh all clients alike, whatever they have."""
        return False

    def check(self) -> None:
        """Raise ValueError, with the remedy, where something is missing that a run would need in the end."""

    @abstractmethod
    def clip(self, update: State) -> State:
        """Return the update, scaled down where it is too large."""

    @abstractmethod
    def noise(self, mean: State, num_clients: int, draws: torch.Generator) -> State:
        """Return the mean with noise.

        Parameters
        ----------
        mean : State
            Sum of the clipped updates, over ``num_clients``.
        num_clients : int
            What the sum was divided by.
        draws : torch.Generator
            Source of the noise, on the CPU.
        """

    @abstractmethod
    def epsilon(self, rounds: int, sampling_rate: float, beside: float = math.inf) -> float:
        """Return ε after so many rounds.

        Parameters
        ----------
        rounds : int
            Means released. Where rounds differ between clients: the most that one client may be in.
        sampling_rate : float
            Chance of a client to be in a round, independently of all others; 1 for any other selection.
        beside : float
            Noise multiplier, for a whole client, of what each tells beside its update and others' updates depend on;
            infinite: nothing.
        """


class NoPrivacy(PrivacySpec):
    """Updates are taken as they are; ε is infinite."""

    kind: ClassVar[str] = "none"

    def clip(self, update: State) -> State:
        """See the base class."""
        return update

    def noise(self, mean: State, num_clients: int, draws: torch.Generator) -> State:
        """See the base class."""
        return mean

    def epsilon(self, rounds: int, sampling_rate: float, beside: float = math.inf) -> float:
        """See the base class."""
        return math.inf


class DpFedAvg(PrivacySpec):
    """DP-FedAvg: what one client sends hardly changes the models that the server sends out.

    Each update is clipped as a whole (flat clipping), Δ_i min(1, S / ‖Δ_i‖), and the mean gets noise:

        Δ = (1/m) Σ_i clip(Δ_i) + N(0, (z S / m)² I)

    All clients weigh the same, and m is a constant, fixed before the round: the number of clients that the
    selection takes (of a random number the expected one, rounded up), not the number that came. Then zeros in place
    of what a client sends move the sum by at most S, and ε is that of Gaussian mechanisms of noise multiplier z. The
    server is trusted: it sees every update. Left out: clipping by layer, weights by data with a cap, adaptive S, the
    attacks on floating-point noise.

    Source: McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018,
    arXiv 1710.06963, Algorithm 1 with weights 1 and the estimator of fixed denominator.
    """

    kind: ClassVar[str] = "dp_fedavg"

    clip_norm: Positive = 1.0
    """S: largest L2 norm of a client's update, over all its tensors."""
    noise_multiplier: NonNegative = 1.0
    """z: noise on the sum over ``clip_norm``; 0: clipping only, ε is infinite."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """δ at which ε is told; should be well below one over the number of clients."""

    @property
    def equal_weights(self) -> bool:
        """See the base class."""
        return True

    def check(self) -> None:
        """See the base class."""
        check_library()

    def clip(self, update: State) -> State:
        """See the base class. The norm is taken in float64, and holds after rounding.

        Raises
        ------
        RunError
            If the update isn't finite: no factor gives it a norm.
        """
        import torch

        from nmoe_sim.nmoe.threads import one_thread

        with one_thread():
            norm = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in update.values()))
        if not math.isfinite(norm):
            raise RunError("a client's update isn't finite, so no clipping bounds it; lower optimizer.lr")
        if norm <= self.clip_norm:
            return update
        # a rounded value may be larger by half an epsilon
        return {
            name: tensor * (self.clip_norm / norm * (1 - torch.finfo(tensor.dtype).eps))
            for name, tensor in update.items()
        }

    def noise(self, mean: State, num_clients: int, draws: torch.Generator) -> State:
        """See the base class. Draws by tensor, in order."""
        import torch

        std = self.noise_multiplier * self.clip_norm / num_clients
        return {
            name: tensor + std * torch.randn(tensor.shape, dtype=tensor.dtype, generator=draws).to(tensor.device)
            for name, tensor in mean.items()
        }

    def epsilon(self, rounds: int, sampling_rate: float, beside: float = math.inf) -> float:
        """See the base class. Neighbours: what one client sends, or zeros in its place.

        Two Gaussian mechanisms in a round, of noise multipliers z and r, are one of 1/√(1/z² + 1/r²). Sampling then
        isn't counted: what is told beside is sent by name.
        """
        if math.isinf(beside):
            return gaussian_epsilon(self.noise_multiplier, self.delta, rounds, sampling_rate)
        z = self.noise_multiplier
        both = z * beside / math.hypot(z, beside) if z else 0.0
        return gaussian_epsilon(both, self.delta, rounds)


def matrix_multiplier(noise_std: float, mu: float) -> float:
    """Return the noise multiplier of a correlation matrix for a whole client, σ / μ.

    Neighbours: the client's matrix R, or zeros in its place. R is positive semidefinite, so that its upper triangle
    has a norm of at most ‖R‖_F ≤ tr R ≤ μ, whatever the client's number of samples.

    Parameters
    ----------
    noise_std : float
        Standard deviation σ of the noise on each entry of the upper triangle.
    mu : float
        Largest squared norm of a projector output.
    """
    return noise_std / mu


def matrix_sensitivity(mu: float, num_samples: int) -> float:
    """Return by how much one sample can move a client's correlation matrix, √2 μ / n.

    R = (1/2n) Σ_b (z1 z1ᵀ + z2 z2ᵀ) over n samples with ‖z‖² ≤ μ; neighbours differ in one sample, replaced. The
    matrix then moves by (A − B)/2n, with A and B positive semidefinite and of trace at most 2μ. Since tr(AB) ≥ 0,

        ‖A − B‖²_F = ‖A‖²_F + ‖B‖²_F − 2 tr(AB) ≤ (tr A)² + (tr B)² ≤ 8 μ².

    What leaves the client is the upper triangle. Its L2 norm is at most the Frobenius norm, in which entries beside
    the diagonal count twice; both are equal, and the bound is reached, where A = 2μ e_1 e_1ᵀ and B = 2μ e_2 e_2ᵀ. The
    mean over several passes keeps the bound, by the triangle inequality.

    Parameters
    ----------
    mu : float
        Largest squared norm of a projector output.
    num_samples : int
        n, samples of the client.

    Returns
    -------
    float
        L2 sensitivity of the upper triangle, tight.
    """
    return math.sqrt(2) * mu / num_samples


def matrix_epsilon(noise_std: float, mu: float, num_samples: int, rounds: int, delta: float) -> float:
    """Return ε of a client's samples at δ, from the matrices that it sent.

    Exact, composed over the rounds (``gaussian_epsilon``); neighbours as of ``matrix_sensitivity``. It says nothing
    about the models that the client sends beside its matrices.

    Parameters
    ----------
    noise_std : float
        Standard deviation of the noise on each entry of the upper triangle.
    mu : float
        Largest squared norm of a projector output.
    num_samples : int
        Samples of the client.
    rounds : int
        Matrices it sent; one that the server uses again costs nothing.
    delta : float
        δ.
    """
    return gaussian_epsilon(noise_std / matrix_sensitivity(mu, num_samples), delta, rounds)


def matrix_noise_std(epsilon: float, delta: float, mu: float, num_samples: int, rounds: int) -> float:
    """Return the least noise with which a client's matrices are (ε, δ)-private: the inverse of ``matrix_epsilon``."""
    return matrix_sensitivity(mu, num_samples) * gaussian_noise_multiplier(epsilon, delta, rounds)
