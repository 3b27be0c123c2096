"""Changes of colour as linear maps of red, green and blue, one an image. They leave grey as it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (ITU-R BT.601)."""
_CHROMA = ((0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
"""I and Q of YIQ, the chroma of NTSC; each row sums to 0."""


def mean_luma(x_BCHW: Tensor) -> Tensor:
    """Return the mean luma of each image (B,); the mean of all values where channels aren't red, green and blue."""
    mean_BC = x_BCHW.mean(dim=(2, 3))
    return mean_BC @ mean_BC.new_tensor(LUMA) if mean_BC.shape[1] == 3 else mean_BC.mean(dim=1)


def colour_map(*, saturation: Tensor, turn: Tensor, grey: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) that change saturation, then hue, then drop the colour.

    In YIQ, where the first coordinate is luma and the plane of the other two holds the colour: that plane is
    scaled by ``saturation``, or by 0, and turned by the angle 2π · ``turn``.

    Parameters
    ----------
    saturation : Tensor, shape (B,)
        Factor on the distance from grey of the same luma; 1: as it is.
    turn : Tensor, shape (B,)
        Share of a full turn of the hue; 0: as it is.
    grey : Tensor of bool, shape (B,)
        Where the colour is dropped.
    """
    to_yiq = turn.new_tensor((LUMA, *_CHROMA))
    strength = torch.where(grey, torch.zeros_like(saturation), saturation)
    cos, sin = strength * (2 * math.pi * turn).cos(), strength * (2 * math.pi * turn).sin()
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turned_B33 = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos]).T.reshape(-1, 3, 3)
    map_B33: Tensor = torch.linalg.inv(to_yiq) @ turned_B33 @ to_yiq
    return map_B33
