"""An augmentation of one's own: cutout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from nmoe_sim.nmoe.augment import Augmentation

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Cutout(Augmentation):
    """Each image loses a square of its own, which may stick out of it (DeVries and Taylor, arXiv 1708.04552)."""

    kind: ClassVar[str] = "cutout"

    side: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Side of the square, as a share of the image's height and width."""

    def apply(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random view of each image."""
        import torch

        height, width = x_BCHW.shape[-2:]
        centre = torch.rand(2, len(x_BCHW), 1, 1, 1, generator=generator, dtype=x_BCHW.dtype).to(x_BCHW.device)
        row, column = ((torch.arange(n).to(x_BCHW) + 0.5) / n for n in (height, width))
        in_rows = (row[:, None] - centre[0]).abs() < self.side / 2
        in_columns = (column - centre[1]).abs() < self.side / 2
        return x_BCHW.masked_fill(in_rows & in_columns, 0.0)


FAMILIES = {"augmentation": [Cutout]}
