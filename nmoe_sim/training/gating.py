"""How clients score experts once stage 3 is over: by trained gates, or by a rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nmoe_sim.nmoe.cohort import State


class Gating(Protocol):
    """Scores experts for the samples of a client; stage 3 leaves one in ``learning.gating``."""

    def scores(self, client: int, h_BD: Tensor, outputs_BEC: Tensor, labels_B: Tensor) -> Tensor:
        """Return scores_BE.

        Parameters
        ----------
        client : int
        h_BD : Tensor
            Features of the samples.
        outputs_BEC, labels_B : Tensor
            Every expert's logits, and the labels: for an oracle, which must be named so; no other may look.
        """


class TrainedGates:
    """Every client's own gate.

    Parameters
    ----------
    gate : nn.Module
        Architecture.
    states : sequence of State
        State of each client's gate.
    """

    def __init__(self, gate: nn.Module, states: Sequence[State]) -> None:
        self._gate = gate
        self._states = states

    def scores(self, client: int, h_BD: Tensor, outputs_BEC: Tensor, labels_B: Tensor) -> Tensor:
        """See ``Gating``."""
        from nmoe_sim.nmoe.evaluate import gate_scores

        state: Mapping[str, Tensor] = self._states[client]
        return gate_scores(self._gate, [state], h_BD)[0]


class OwnExpert:
    """Score 0 for the client's own expert, -inf for the others."""

    def scores(self, client: int, h_BD: Tensor, outputs_BEC: Tensor, labels_B: Tensor) -> Tensor:
        """See ``Gating``."""
        scores_BE = h_BD.new_full(outputs_BEC.shape[:2], -np.inf)
        scores_BE[:, client] = 0.0
        return scores_BE


class OracleGating:
    """Score 0 for the expert that gives the true label the highest probability, -inf for the others.

    Ties go to the lowest number. It looks at the label: what no gate can know.
    """

    def scores(self, client: int, h_BD: Tensor, outputs_BEC: Tensor, labels_B: Tensor) -> Tensor:
        """See ``Gating``."""
        label_BE1 = labels_B[:, None, None].expand(*outputs_BEC.shape[:2], 1)
        best_B = outputs_BEC.log_softmax(dim=-1).gather(-1, label_BE1).squeeze(-1).argmax(dim=-1)
        return h_BD.new_full(outputs_BEC.shape[:2], -np.inf).scatter(-1, best_B[:, None], 0.0)
