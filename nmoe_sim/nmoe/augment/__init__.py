"""Random augmentation of images: the views of contrastive learning."""

from nmoe_sim.nmoe.augment.affine import Affine
from nmoe_sim.nmoe.augment.augmentation import Augmentation
from nmoe_sim.nmoe.augment.crop_jitter import CropJitter

__all__ = ["Affine", "Augmentation", "CropJitter"]
