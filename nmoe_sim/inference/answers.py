"""The values of inference: what the experts that arrived in time say together, all requests at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmoe_sim.inference.service import Served

if TYPE_CHECKING:
    from nmoe_sim.inference.received import Outputs
    from nmoe_sim.nmoe.mixture import Combine

_CHUNK = 8192


def predictions(served: Sequence[Served], outputs: Outputs, how: Combine) -> list[int | None]:
    """Return the predicted class of every request; None where nothing was combined.

    Parameters
    ----------
    served : sequence of Served
        What the clock found, one a request.
    outputs : Outputs
        outputs(requests [B], experts [B, K]) → logits [B, K, C]: what experts said to what reached them.
    how : {"logits", "probabilities"}
        What the mixture adds up.
    """
    import torch

    from nmoe_sim.nmoe import mixture
    from nmoe_sim.nmoe.threads import one_thread

    answers: list[int | None] = [None] * len(served)
    by_width: dict[int, list[int]] = {}
    for i, one in enumerate(served):
        if one.t_done_s is not None:
            by_width.setdefault(len(one.arrived), []).append(i)
    with one_thread():
        for _, requests in sorted(by_width.items()):
            for start in range(0, len(requests), _CHUNK):
                rows = requests[start : start + _CHUNK]
                experts = np.array([served[i].arrived for i in rows])
                scores = np.array([_scores(served[i]) for i in rows], dtype=np.float32)
                outputs_BKC = outputs(np.array(rows), experts)
                weights_BK = mixture.mixture_weights(torch.from_numpy(scores).to(outputs_BKC.device))
                y_BC = mixture.combine(weights_BK, outputs_BKC, how)
                for i, prediction in zip(rows, mixture.predictions(y_BC).tolist(), strict=True):
                    answers[i] = prediction
    return answers


def _scores(one: Served) -> list[float]:
    """Return the scores of the experts that arrived."""
    if len(one.arrived) == len(one.experts):  # then in the same order
        return one.scores
    of = dict(zip(one.experts, one.scores, strict=True))
    return [of[expert] for expert in one.arrived]
