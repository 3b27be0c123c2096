"""Torch modules of a vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nmoe_sim.nmoe.modules import linear

_EMBEDDING_STD = 0.02


class Attention(nn.Module):
    """Multi-head self-attention, softmax(q kᵀ/√d) v (Vaswani et al. 2017).

    Parameters
    ----------
    dim : int
        Width of a token.
    heads : int
        Heads; they divide ``dim``.
    generator : torch.Generator
        Source of the weights.
    """

    def __init__(self, dim: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = linear(dim, 3 * dim, generator)
        self.out = linear(dim, dim, generator)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return what each token gathers from all tokens."""
        q_BHTd, k_BHTd, v_BHTd = self.qkv(x_BTD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        gathered_BHTd = functional.scaled_dot_product_attention(q_BHTd, k_BHTd, v_BHTd)
        out_BTD: Tensor = self.out(gathered_BHTd.transpose(1, 2).flatten(2))
        return out_BTD


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Parameters
    ----------
    dim, heads : int
        As of ``Attention``.
    mlp_ratio : int
        Hidden width of the perceptron, in ``dim``.
    generator : torch.Generator
        Source of the weights.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: int, generator: torch.Generator) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(dim), Attention(dim, heads, generator))
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            linear(dim, mlp_ratio * dim, generator),
            nn.GELU(),
            linear(mlp_ratio * dim, dim, generator),
        )

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the block's output."""
        x_BTD = x_BTD + self.attention(x_BTD)
        out_BTD: Tensor = x_BTD + self.mlp(x_BTD)
        return out_BTD


class VisionTransformer(nn.Module):
    """Images x_BCHW → one vector each, (B, dim); see ``VitExtractor``.

    Parameters
    ----------
    num_inputs : int
        Channels of an image.
    num_patches : int
        Patches of an image.
    patch_size, dim, depth, heads, mlp_ratio : int
        As of ``VitExtractor``.
    class_token : bool
        Whether an extra token is the output, instead of the mean of all.
    generator : torch.Generator
        Source of the weights.
    """

    def __init__(
        self,
        num_inputs: int,
        num_patches: int,
        *,
        patch_size: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: int,
        class_token: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()

        def drawn(num_tokens: int) -> nn.Parameter:
            return nn.Parameter(_EMBEDDING_STD * torch.randn(num_tokens, dim, generator=generator))

        self.patch_size = patch_size
        self.embedding = linear(num_inputs * patch_size**2, dim, generator)
        self.positions = drawn(num_patches + class_token)
        self.class_token = drawn(1) if class_token else None
        self.blocks = nn.Sequential(*(TransformerBlock(dim, heads, mlp_ratio, generator) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return one vector an image."""
        patches_BTP = functional.unfold(x_BCHW, self.patch_size, stride=self.patch_size).transpose(1, 2)
        tokens_BTD: Tensor = self.embedding(patches_BTP)
        if self.class_token is not None:
            tokens_BTD = torch.cat([self.class_token.expand(len(tokens_BTD), -1, -1), tokens_BTD], dim=1)
        tokens_BTD = self.norm(self.blocks(tokens_BTD + self.positions))
        return tokens_BTD.mean(dim=1) if self.class_token is None else tokens_BTD[:, 0]
