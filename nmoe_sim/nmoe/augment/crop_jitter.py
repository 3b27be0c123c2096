"""Views by random resized crops and colour jitter: those of SimCLR, and of FedSC on colour images.

Sources: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
arXiv 2002.05709 (there with blur); the ranges are FedSC's (Jing et al. 2024, arXiv 2405.03949).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator

from nmoe_sim.nmoe.augment.augmentation import Augmentation
from nmoe_sim.scenario.quantities import Probability

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Share = Annotated[float, Field(ge=0, le=1)]
TRIES = 10
"""Boxes drawn for each image; the first that fits is taken, the whole image where none does."""


class CropJitter(Augmentation):
    """Random resized crop, horizontal flip, colour jitter, greyscale; each sample draws its own.

    Ours, where the usual implementation is slower or leaves it open: boxes aren't rounded to pixels, the
    four parts of the jitter come in the order of the fields with values clipped to [0, 1] once at the end,
    and hue turns about the grey axis in YIQ rather than in HSV. On images that don't have 3 channels
    ``saturation``, ``hue`` and ``greyscale_probability`` do nothing.
    """

    kind: ClassVar[str] = "crop_jitter"

    min_area: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Smallest crop, as a share of the image's area."""
    max_area: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest crop."""
    max_aspect_ratio: Annotated[float, Field(ge=1, le=10)] = 4 / 3
    """Largest ratio of a crop's sides, width to height or height to width; its logarithm is uniform."""
    flip_probability: Probability = 0.5
    """Probability of a mirror image, left to right."""
    jitter_probability: Probability = 0.8
    """Probability that brightness, contrast, saturation and hue change at all."""
    brightness: Share = 0.4
    """Largest relative change of all values, either way."""
    contrast: Share = 0.4
    """Largest relative change of the distance from the image's mean luma, either way."""
    saturation: Share = 0.4
    """Largest relative change of the distance from each pixel's luma, either way."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Largest turn of the hue, as a share of a full turn, either way."""
    greyscale_probability: Probability = 0.2
    """Probability that a view has no colour."""

    @model_validator(mode="after")
    def _ordered(self) -> CropJitter:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area {self.min_area:g} is above max_area {self.max_area:g}; swap them")
        return self

    def apply(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Return one random view of each image; see ``Augmentation``."""
        import torch

        device, dtype = x_BCHW.device, x_BCHW.dtype
        boxes = torch.rand(2, TRIES, len(x_BCHW), generator=generator, dtype=dtype).to(device)
        draws = torch.rand(9, len(x_BCHW), generator=generator, dtype=dtype).to(device)
        left, top, flip, jitter, *colours = draws
        jittered = (jitter < self.jitter_probability).to(dtype)
        return self._jitter(self._crop(x_BCHW, boxes, left, top, flip), jittered, *colours)

    def _crop(self, x_BCHW: Tensor, boxes_2TB: Tensor, left_B: Tensor, top_B: Tensor, flip_B: Tensor) -> Tensor:
        import torch

        height, width = x_BCHW.shape[-2:]
        area_TB = height * width * (self.min_area + (self.max_area - self.min_area) * boxes_2TB[0])
        ratio_TB = torch.exp(math.log(self.max_aspect_ratio) * (2 * boxes_2TB[1] - 1))
        wide_TB, high_TB = (area_TB * ratio_TB).sqrt(), (area_TB / ratio_TB).sqrt()
        fits_TB = (wide_TB <= width) & (high_TB <= height)
        first_1B = fits_TB.int().argmax(dim=0, keepdim=True)
        wide_B, high_B = (
            torch.where(fits_TB.any(dim=0), sides.gather(0, first_1B)[0], float(whole))
            for sides, whole in ((wide_TB, width), (high_TB, height))
        )
        rows_BHH = _interpolation((height - high_B) * top_B, high_B, height)
        columns_BWW = _interpolation((width - wide_B) * left_B, wide_B, width)
        mirrored = (flip_B < self.flip_probability)[:, None, None]
        columns_BWW = torch.where(mirrored, columns_BWW.flip(1), columns_BWW)
        return rows_BHH[:, None] @ x_BCHW @ columns_BWW.transpose(1, 2)[:, None]

    def _jitter(
        self,
        x_BCHW: Tensor,
        jittered_B: Tensor,
        brightness_B: Tensor,
        contrast_B: Tensor,
        saturation_B: Tensor,
        hue_B: Tensor,
        grey_B: Tensor,
    ) -> Tensor:
        from nmoe_sim.nmoe.augment.colour import colour_map, mean_luma

        def change(largest: float, draw_B: Tensor) -> Tensor:
            return jittered_B * largest * (2 * draw_B - 1)

        bright_B, contrast_B = 1 + change(self.brightness, brightness_B), 1 + change(self.contrast, contrast_B)
        mean_B = mean_luma(x_BCHW)
        gain_B, offset_B = bright_B * contrast_B, bright_B * (1 - contrast_B) * mean_B
        if x_BCHW.shape[1] == 3:  # maps that leave grey alone, so that the offset may come last
            map_B33 = colour_map(
                saturation=1 + change(self.saturation, saturation_B),
                turn=change(self.hue, hue_B),
                grey=grey_B < self.greyscale_probability,
            )
            coloured = (map_B33 @ x_BCHW.flatten(2)).view_as(x_BCHW)
        else:
            coloured = x_BCHW
        return (gain_B[:, None, None, None] * coloured + offset_B[:, None, None, None]).clamp(0, 1)


def _interpolation(start_B: Tensor, extent_B: Tensor, size: int) -> Tensor:
    """Return matrices (B, size, size) that stretch an interval of a line of pixels to the whole line, linearly.

    Output i is what is at start + (i + ½)/size · extent − ½; at the ends the outermost pixel is repeated.
    """
    import torch

    pixel = torch.arange(size, dtype=start_B.dtype, device=start_B.device)
    at_BS = (start_B[:, None] + (pixel + 0.5) / size * extent_B[:, None] - 0.5).clamp(0, size - 1)
    return (1 - (at_BS[:, :, None] - pixel).abs()).clamp_min(0)
