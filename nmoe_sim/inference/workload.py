"""The request load of a run: who asks what, when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.arrivals import ArrivalProcess
from nmoe_sim.rng import RandomStreams


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival; arrays of length R."""

    t_s: NDArray[np.float64]
    """Arrival, seconds after the start of the inference phase."""
    client: NDArray[np.int64]
    """Client that asks."""
    sample: NDArray[np.int64]
    """Row of the test set."""

    @classmethod
    def draw(
        cls,
        arrivals: ArrivalProcess,
        pools: Sequence[NDArray[np.int64]],
        duration_s: float,
        streams: RandomStreams,
    ) -> Workload:
        """Draw arrivals and samples of all clients.

        Parameters
        ----------
        arrivals : ArrivalProcess
        pools : sequence of int arrays
            Rows of the test set each client draws from, uniformly with replacement.
        duration_s : float
        streams : RandomStreams
            Streams ``arrivals`` and ``sample``, by client and number of the client's request.
        """
        t_s, client, sample = [], [], []
        for i, pool in enumerate(pools):
            times_s = arrivals.times_s(i, duration_s, streams)
            picks = (streams.uniform("sample", i, np.arange(len(times_s))) * len(pool)).astype(np.int64)
            t_s.append(times_s)
            client.append(np.full(len(times_s), i))
            sample.append(pool[picks])
        all_t_s = np.concatenate(t_s)
        order = np.argsort(all_t_s, kind="stable")
        return cls(all_t_s[order], np.concatenate(client)[order], np.concatenate(sample)[order])
