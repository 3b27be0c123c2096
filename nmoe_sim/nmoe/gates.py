"""Gates: features in, one score an expert out. Each client has one, of a shared and a local part."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.widths import Widths, num_mlp_parameters
from nmoe_sim.scenario.quantities import Positive
from nmoe_sim.scenario.spec import Spec

if TYPE_CHECKING:
    import torch

    from nmoe_sim.nmoe.modules import Gate


class GateSpec(Spec):
    """A gate G: h_BD → scores_BN = shared(h) + local_scale · local(h); subclasses implement ``build``.

    The published description (arXiv 2511.01743) says that a gate has a shared and a local part, not
    how they combine. Adding their scores is our interpretation: it makes the local part a
    correction to common knowledge, and either part alone is a gate.
    """

    @abstractmethod
    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module; its weights are a function of the generator's state.

        A module whose layers draw from torch's global state is built with ``modules.seeded``.
        """

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of both parts: what memory they take, before anything runs.

        Built and counted here; override it with a closed form where building takes long.
        """
        from nmoe_sim.nmoe.modules import count_parameters

        return count_parameters(lambda generator: self.build(num_features, num_experts, generator))

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of the shared part; built and counted, as above."""
        from nmoe_sim.nmoe.modules import count_parameters

        return count_parameters(lambda generator: self.build(num_features, num_experts, generator).shared)


class MlpGate(GateSpec):
    """Both parts are perceptrons of the same widths; the local one starts at score 0.

    Starting the local part's last layer at zero is our interpretation: before training, every client
    scores as the shared part does, and the local part learns only what it can't say. So is
    ``local_scale``: on its own data a client's own expert is the best, a local part that learns as fast
    as the shared one soon says only that, and then nothing is left for the shared part to learn.
    """

    kind: ClassVar[str] = "mlp"

    hidden: Widths = ()
    """Widths of the hidden layers of each part; empty: linear."""
    local_scale: Positive = 0.2
    """Factor on the local part's scores; its steps shrink with the square."""

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.modules import Gate, mlp

        widths = (num_features, *self.hidden, num_experts)
        gate = Gate(mlp(widths, generator), mlp(widths, generator), self.local_scale)
        for parameter in list(gate.local.parameters())[-2:]:
            nn.init.zeros_(parameter)
        return gate

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of both parts, without torch."""
        return 2 * self.num_shared_parameters(num_features, num_experts)

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of the shared part, without torch."""
        return num_mlp_parameters(num_features, *self.hidden, num_experts)
