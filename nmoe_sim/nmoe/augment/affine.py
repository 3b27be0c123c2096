"""Views by small displacements: for images that fill their frame, such as digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from nmoe_sim.nmoe.augment.augmentation import Augmentation
from nmoe_sim.scenario.quantities import NonNegative, Positive, Probability

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Affine(Augmentation):
    """Ranges of a random affine map, brightness, contrast and noise; each sample draws its own."""

    kind: ClassVar[str] = "affine"

    max_shift: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Largest shift along each axis, as a share of the image's height and width."""
    min_scale: Positive = 0.9
    """Smallest magnification."""
    max_scale: Positive = 1.1
    """Largest magnification."""
    max_rotation_deg: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Largest rotation, either way."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Largest amount added to all pixels, either way."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Largest relative change of the distance from the image's mean, either way."""
    noise_std: NonNegative = 0.05
    """Standard deviation of noise added to each pixel."""
    flip_probability: Probability = 0.0
    """Probability of a mirror image, left to right."""

    @model_validator(mode="after")
    def _ordered(self) -> Affine:
        if self.min_scale > self.max_scale:
            raise ValueError(f"min_scale {self.min_scale:g} is above max_scale {self.max_scale:g}; swap them")
        return self

    def apply(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random view of each image; see ``Augmentation``.

        Bilinear interpolation, zeros outside the image; values aren't clipped to [0, 1].
        """
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        b = len(x_BCHW)
        draws = torch.rand(7, b, generator=generator, dtype=x_BCHW.dtype)
        noise = torch.randn(x_BCHW.shape, generator=generator, dtype=x_BCHW.dtype)
        shift_x, shift_y, scale, angle, brightness, contrast, flip = draws.to(x_BCHW.device)

        # affine_grid maps output to input coordinates, both in [-1, 1]: divide by the magnification
        zoom = 1 / (self.min_scale + (self.max_scale - self.min_scale) * scale)
        mirror = 1 - 2 * (flip < self.flip_probability).to(zoom.dtype)
        turn = math.radians(self.max_rotation_deg) * (2 * angle - 1)
        cos, sin = turn.cos() * zoom, turn.sin() * zoom
        aspect = x_BCHW.shape[2] / x_BCHW.shape[3]  # of these coordinates, in which only a square turns as it is
        dx, dy = (2 * self.max_shift * (2 * s - 1) for s in (shift_x, shift_y))
        map_B23 = torch.stack([mirror * cos, -sin * aspect, dx, mirror * sin / aspect, cos, dy]).T.reshape(b, 2, 3)
        grid = affine_grid(map_B23, list(x_BCHW.shape), align_corners=False)
        moved = grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

        mean = moved.mean(dim=(1, 2, 3), keepdim=True)
        gain = (1 + self.contrast * (2 * contrast - 1)).reshape(b, 1, 1, 1)
        offset = (self.brightness * (2 * brightness - 1)).reshape(b, 1, 1, 1)
        view: Tensor = mean + gain * (moved - mean) + offset + self.noise_std * noise.to(moved.device)
        return view
