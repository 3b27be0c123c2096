"""Bursty arrivals: a Markov-modulated Poisson process."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nmoe_sim.errors import InputError
from nmoe_sim.inference.arrivals.per_client import Rates, check_length, value_of
from nmoe_sim.inference.arrivals.process import KEY, Arrivals, unit_poisson
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative, Positive

_MAX_SOJOURNS = 20_000_000
"""Expected changes of state of one client in a run; more don't fit a workstation's memory."""


class Mmpp(Arrivals):
    """Markov-modulated Poisson process: each client wanders between states, each with a rate of its own.

    A client stays in state s for an exponential time of mean ``mean_sojourn_s[s]``, then goes to one of the
    other states, all equally likely; meanwhile its requests are Poisson of rate ``rates_hz[s]``. With two
    states, one of them silent, it is the on-off (interrupted Poisson) process. Clients are independent and
    start in the stationary distribution π_s = m_s / Σ m, so the mean rate is Σ r_s m_s / Σ m at any time.

    Source: W. Fischer and K. Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook",
    Performance Evaluation 18, 1993. Other transition probabilities are left out.
    """

    kind: ClassVar[str] = "mmpp"

    rates_hz: Annotated[tuple[NonNegative, ...], Field(min_length=2, max_length=1000)] = (0.2, 5.0)
    """Requests per second of a client in each state."""
    mean_sojourn_s: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=1000)] = (5.0, 1.0)
    """Mean time spent in each state at a time."""
    rate_hz: Rates | None = None
    """Mean rate of each client, a number or a list: the states' rates are scaled to it; null: they stand as given."""

    @model_validator(mode="after")
    def _states(self) -> Mmpp:
        if len(self.rates_hz) != len(self.mean_sojourn_s):
            raise ValueError(
                f"{len(self.rates_hz)} rates_hz and {len(self.mean_sojourn_s)} mean_sojourn_s; give one of each a state"
            )
        if not any(self.rates_hz):
            raise ValueError("no state asks anything; give at least one of rates_hz a rate above 0")
        return self

    def check(self, num_clients: int, duration_s: float) -> None:
        """See the base class."""
        if self.rate_hz is not None:
            check_length(self.rate_hz, num_clients, "rate_hz")
        self._check_sojourns(duration_s)

    def _check_sojourns(self, duration_s: float) -> None:
        sojourns = duration_s / float(np.mean(self.mean_sojourn_s))
        if sojourns > _MAX_SOJOURNS:
            raise InputError(
                f"{sojourns:.3g} changes of state are expected, more than {_MAX_SOJOURNS:,}; "
                "raise the times or lower the duration",
                key=f"{KEY}.mean_sojourn_s",
            )

    def times_s(self, client: int, duration_s: float, streams: RandomStreams) -> NDArray[np.float64]:
        """See the protocol; unit-rate points are mapped through the integral of the rate.

        The points are the same draws as those of ``poisson``; the states are the streams ``arrivals_state``
        and ``arrivals_sojourn``.
        """
        scale = self.mean_rate_hz(client) / self._own_mean_hz
        if scale == 0:
            return np.empty(0)
        states, starts_s = self.path(client, duration_s, streams)
        rates_hz = scale * np.array(self.rates_hz)[states]
        expected = np.concatenate([[0.0], np.cumsum(rates_hz * np.diff(starts_s))])
        points = unit_poisson(streams, client, float(expected[-1]))
        points = points[points < expected[-1]]
        # the last start with as many requests expected before it: a silent state holds no point
        k = np.searchsorted(expected, points, side="right") - 1
        times_s: NDArray[np.float64] = starts_s[k] + (points - expected[k]) / rates_hz[k]
        return times_s[times_s < duration_s]

    def path(
        self, client: int, duration_s: float, streams: RandomStreams
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the states a client goes through [S] and when each starts, and the last one ends [S + 1].

        Covers the duration and goes on beyond it.
        """
        self._check_sojourns(duration_s)
        means_s, num_states = np.array(self.mean_sojourn_s), len(self.mean_sojourn_s)
        first = np.searchsorted(
            np.cumsum(means_s / means_s.sum())[:-1], streams.uniform("arrivals_first_state", client)
        )
        count = int(1.2 * duration_s / means_s.mean()) + 20
        while True:
            index = np.arange(count)
            # to one of the others: on by 1 .. num_states - 1, modulo num_states
            steps = 1 + (streams.uniform("arrivals_state", client, index) * (num_states - 1)).astype(np.int64)
            states = (int(first) + np.cumsum(steps) - steps) % num_states
            ends_s = np.cumsum(means_s[states] * streams.exponential("arrivals_sojourn", client, index))
            if ends_s[-1] >= duration_s:
                return states, np.concatenate([[0.0], ends_s])
            count *= 2

    @property
    def _own_mean_hz(self) -> float:
        means_s = np.array(self.mean_sojourn_s)
        return float(np.dot(self.rates_hz, means_s / means_s.sum()))

    def mean_rate_hz(self, client: int) -> float:
        """See the protocol."""
        return self._own_mean_hz if self.rate_hz is None else value_of(self.rate_hz, client, "rate_hz")
