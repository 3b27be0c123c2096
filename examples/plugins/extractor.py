"""A feature extractor of one's own: any nn.Module."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from nmoe_sim.nmoe.extractors import ExtractorSpec, Shape
from nmoe_sim.scenario.quantities import Width

if TYPE_CHECKING:
    import torch
    from torch import nn


class ResidualExtractor(ExtractorSpec):
    """A convolution, a residual block, the mean over the image, a linear layer."""

    kind: ClassVar[str] = "residual"

    channels: Width = 8
    """Channels of the convolutions."""

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; torch is imported here so that ``check`` needn't wait for it."""
        import torch
        from torch import nn

        class Residual(nn.Module):
            def __init__(self, num_in: int, width: int, num_out: int) -> None:
                super().__init__()
                self.first = nn.Conv2d(num_in, width, 3, padding=1)
                self.second = nn.Conv2d(width, width, 3, padding=1)
                self.last = nn.Linear(width, num_out)

            def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
                x = self.first(x_BCHW).relu()
                x = (x + self.second(x)).relu()
                out: torch.Tensor = self.last(x.mean(dim=(2, 3)))
                return out

        # Layers draw their first weights from torch's global state: seed it here, leave it as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return Residual(input_shape[0], self.channels, self.num_features)

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch: it decides whether a device's memory is enough."""
        width = self.channels
        return (9 * input_shape[0] + 1) * width + (9 * width + 1) * width + (width + 1) * self.num_features


FAMILIES = {"extractor": [ResidualExtractor]}
