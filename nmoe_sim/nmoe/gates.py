"""Gates: features in, one score an expert out. Each client has one, of a shared and a local part."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

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
    """Both parts are perceptrons of the same widths; the local one starts at score 0. ``mixing`` says how they mix.

    Starting the local part's last layer at zero is our interpretation: before training, every client
    scores as the shared part does, and the local part learns only what it can't say. So is
    ``local_scale``: on its own data a client's own expert is the best, a local part that learns as fast
    as the shared one soon says only that, and then nothing is left for the shared part to learn.
    """

    kind: ClassVar[str] = "mlp"

    hidden: Widths = ()
    """Widths of the hidden layers of each part; empty: linear."""
    local_scale: Positive = 0.2
    """λ, factor on the local part's scores; its steps shrink with the square."""
    mixing: Literal["sum", "learned", "convex"] = "sum"
    """How the parts' scores mix: ``sum``, shared + λ · local; ``learned``, the same with λ a number of each client's
    own that is trained, from ``local_scale`` on; ``convex``, log((1 − λ) softmax(shared) + λ softmax(local)), λ below
    1, so that neither part can outvote the other by large scores."""

    @model_validator(mode="after")
    def _is_convex(self) -> MlpGate:
        if self.mixing == "convex" and self.local_scale >= 1:
            raise ValueError(f"mixing 'convex' needs local_scale below 1, not {self.local_scale:g}; lower it")
        return self

    def build(self, num_features: int, num_experts: int, generator: torch.Generator) -> Gate:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.gate_parts import ConvexGate, Scale
        from nmoe_sim.nmoe.modules import Gate, mlp

        widths = (num_features, *self.hidden, num_experts)
        shared, local = mlp(widths, generator), mlp(widths, generator)
        for parameter in list(local.parameters())[-2:]:
            nn.init.zeros_(parameter)
        if self.mixing == "learned":
            return Gate(shared, nn.Sequential(*local, Scale(self.local_scale)))
        return (ConvexGate if self.mixing == "convex" else Gate)(shared, local, self.local_scale)

    def num_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of both parts, without torch."""
        return 2 * self.num_shared_parameters(num_features, num_experts) + (self.mixing == "learned")

    def num_shared_parameters(self, num_features: int, num_experts: int) -> int:
        """Return the number of parameters of the shared part, without torch."""
        return num_mlp_parameters(num_features, *self.hidden, num_experts)
