"""The values of inference: what the experts that arrived in time say together, all requests at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nmoe_sim.inference.service import Served
from nmoe_sim.inference.workload import Workload

if TYPE_CHECKING:
    from torch import Tensor

    from nmoe_sim.nmoe.mixture import Combine

_CHUNK = 8192


def predictions(
    workload: Workload, served: Sequence[Served], scores: NDArray[np.float32], outputs_ETC: Tensor, how: Combine
) -> list[int | None]:
    """Return the predicted class of every request; None where nothing was combined.

    Parameters
    ----------
    workload : Workload
    served : sequence of Served
        What the clock found, one a request.
    scores : float32 array [clients, T, E]
        Gate scores.
    outputs_ETC : Tensor
        Logits of every expert for the test set.
    how : {"logits", "probabilities"}
        What the mixture adds up.
    """
    import torch

    from nmoe_sim.nmoe import mixture
    from nmoe_sim.nmoe.threads import one_thread

    answers: list[int | None] = [None] * len(served)
    done = [i for i, one in enumerate(served) if one.t_done_s is not None]
    by_width: dict[int, list[int]] = {}
    for i in done:
        by_width.setdefault(len(served[i].arrived), []).append(i)
    with one_thread():
        for _, requests in sorted(by_width.items()):
            for start in range(0, len(requests), _CHUNK):
                rows = requests[start : start + _CHUNK]
                experts = np.array([served[i].arrived for i in rows])
                clients, samples = workload.client[rows][:, None], workload.sample[rows][:, None]
                weights_BK = mixture.mixture_weights(torch.from_numpy(scores[clients, samples, experts]))
                outputs_BKC = outputs_ETC[torch.from_numpy(experts), torch.from_numpy(samples)]
                y_BC = mixture.combine(weights_BK.to(outputs_BKC.device), outputs_BKC, how)
                for i, prediction in zip(rows, mixture.predictions(y_BC).tolist(), strict=True):
                    answers[i] = prediction
    return answers
