"""ε of Gaussian mechanisms, composed over the rounds by the library ``dp-accounting`` (extra ``privacy``)."""

from __future__ import annotations

import math
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from nmoe_sim.errors import InputError

_LOSS_GRID = 1e-4  # step of discretised privacy losses, the library's own default
_COARSEST = 1e-5  # of the losses: some 100,000 steps at most, however large they are
_HOPELESS = 1e6  # ε beyond which sampling doesn't make anything private either


def gaussian_epsilon(noise_multiplier: float, delta: float, rounds: int, sampling_rate: float = 1.0) -> float:
    """Return ε at δ of ``rounds`` Gaussian mechanisms, each with noise of ``noise_multiplier`` sensitivities.

    Without sampling it is exact: T mechanisms of noise multiplier z are one of z/√T, whose ε is that of the
    analytic Gaussian mechanism (Balle and Wang, ICML 2018, arXiv 1805.06530, Theorem 8). With Poisson sampling it is
    an upper bound from discretised privacy loss distributions (Doroshenko et al., "Connect the Dots", PoPETs 2022,
    arXiv 2207.04380), for the relation that adds or removes one record, and never more than without sampling. Little
    noise makes losses large and their grid coarse, which costs sharpness, not truth; above ε = 10⁶ sampling isn't
    counted.

    Parameters
    ----------
    noise_multiplier : float
        Standard deviation of the noise over the L2 sensitivity; 0: ε is infinite.
    delta : float
        δ, in (0, 1).
    rounds : int
        Releases, each of which may depend on those before; 0: ε is 0.
    sampling_rate : float
        Chance of a record to be in a round, independently of all others and of all rounds; 1: no sampling.

    Raises
    ------
    InputError
        If the library isn't installed.
    ValueError
        If the sampling rate isn't a probability, or there is a negative number of rounds.
    """
    if not 0 <= sampling_rate <= 1 or rounds < 0:
        raise ValueError(f"{rounds} rounds at sampling rate {sampling_rate:g}; needs rounds >= 0 and a rate in 0..1")
    accounting = _library()
    if rounds == 0 or sampling_rate == 0:
        return 0.0
    with np.errstate(divide="ignore"):  # the log of δ(ε), where noise leaves nothing of it
        epsilon = float(accounting.get_epsilon_gaussian(noise_multiplier / math.sqrt(rounds), delta))
    if sampling_rate == 1 or epsilon > _HOPELESS:
        return epsilon
    return _sampled_epsilon(accounting, noise_multiplier, delta, rounds, sampling_rate, epsilon)


def _sampled_epsilon(
    accounting: ModuleType, noise_multiplier: float, delta: float, rounds: int, sampling_rate: float, bound: float
) -> float:
    """Return ε with sampling; ``bound`` is that without. A first, coarse pass finds how fine the grid may be."""
    event = accounting.PoissonSampledDpEvent(sampling_rate, accounting.GaussianDpEvent(noise_multiplier))
    one_loss = float(accounting.get_epsilon_gaussian(noise_multiplier, delta))
    grid = math.inf
    while (finer := max(_LOSS_GRID, _COARSEST * max(bound, one_loss))) < grid:
        grid = finer
        sampled = accounting.pld.PLDAccountant(value_discretization_interval=grid).compose(event, rounds)
        bound = min(bound, float(sampled.get_epsilon(delta)))
    return bound


def gaussian_noise_multiplier(epsilon: float, delta: float, rounds: int) -> float:
    """Return the least noise multiplier with which ``rounds`` Gaussian mechanisms are (ε, δ)-private together.

    The inverse of ``gaussian_epsilon`` without sampling.
    """
    return math.sqrt(rounds) * float(_library().get_sigma_gaussian(epsilon, delta))


def check_library() -> None:
    """Raise ValueError if the library isn't there, without importing it, which takes long."""
    if find_spec("dp_accounting") is None:
        raise ValueError(f"{_NEEDS} isn't installed; {_REMEDY}")


_NEEDS, _REMEDY = "dp-accounting, which computes epsilon,", "pip install 'nmoe-sim[privacy]'"


def _library() -> ModuleType:
    try:
        import dp_accounting  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise InputError(f"{_NEEDS} can't be used ({error}); {_REMEDY}") from error
    accounting: ModuleType = dp_accounting
    return accounting
