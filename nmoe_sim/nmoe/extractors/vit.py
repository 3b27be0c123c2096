"""A small vision transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from nmoe_sim.nmoe.extractors.base import PooledExtractor, Shape
from nmoe_sim.nmoe.widths import num_mlp_parameters
from nmoe_sim.scenario.quantities import Count, Width

if TYPE_CHECKING:
    import torch
    from torch import nn


class VitExtractor(PooledExtractor):
    """A vision transformer (Dosovitskiy et al. 2021): patches, learned positions, pre-norm blocks, pooling.

    A block is x + attention(norm(x)), then x + mlp(norm(x)) with GELU; a layer normalisation follows the last
    one. Positions and the class token start from N(0, 0.02²), layers from PyTorch's own law. Left out: dropout, which
    is a draw in every forward pass.
    """

    kind: ClassVar[str] = "vit"

    patch_size: Count = 4
    """Height and width of a patch, in pixels; it must divide those of the image."""
    dim: Width = 64
    """Width of a token, which is the backbone's."""
    depth: Count = 4
    """Blocks."""
    heads: Count = 4
    """Attention heads of each block; they must divide ``dim``."""
    mlp_ratio: Count = 2
    """Hidden width of a block's perceptron, in ``dim``."""
    pooling: Literal["mean", "class_token"] = "mean"
    """What becomes of the tokens: their mean, or the one of an extra token that stands for the whole image."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> VitExtractor:
        if self.dim % self.heads:
            raise ValueError(f"heads {self.heads} must divide dim {self.dim}")
        return self

    @property
    def width_of_backbone(self) -> int:
        """Width of a token."""
        return self.dim

    def check(self, input_shape: Shape) -> None:
        """Refuse images that patches don't tile."""
        _, height, width = input_shape
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"patch_size {self.patch_size} must divide the image's height and width, {height}×{width} pixels"
            )

    def build(self, input_shape: Shape, generator: torch.Generator) -> nn.Module:
        """Build the module; its weights are a function of the generator's state."""
        from torch import nn

        from nmoe_sim.nmoe.extractors.attention import VisionTransformer

        self.check(input_shape)
        backbone = VisionTransformer(
            input_shape[0],
            self._num_patches(input_shape),
            patch_size=self.patch_size,
            dim=self.dim,
            depth=self.depth,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            class_token=self.pooling == "class_token",
            generator=generator,
        )
        return nn.Sequential(backbone, self.head(generator))

    def num_parameters(self, input_shape: Shape) -> int:
        """Return the number of parameters, without torch."""
        dim, num_extra = self.dim, int(self.pooling == "class_token")
        embedding = num_mlp_parameters(input_shape[0] * self.patch_size**2, dim)
        tokens = (self._num_patches(input_shape) + 2 * num_extra) * dim
        attention = num_mlp_parameters(dim, 3 * dim) + num_mlp_parameters(dim, dim)
        block = 4 * dim + attention + num_mlp_parameters(dim, self.mlp_ratio * dim, dim)
        return embedding + tokens + self.depth * block + 2 * dim + self.num_head_parameters()

    def _num_patches(self, input_shape: Shape) -> int:
        return (input_shape[1] // self.patch_size) * (input_shape[2] // self.patch_size)
