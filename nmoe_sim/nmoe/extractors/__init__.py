"""Feature extractors: images in, features out. One, shared by all clients."""

from nmoe_sim.nmoe.extractors.base import ExtractorSpec, PooledExtractor, Shape
from nmoe_sim.nmoe.extractors.cnn import CnnExtractor
from nmoe_sim.nmoe.extractors.mlp import MlpExtractor
from nmoe_sim.nmoe.extractors.resnet import ResNetExtractor
from nmoe_sim.nmoe.extractors.vit import VitExtractor

__all__ = [
    "CnnExtractor",
    "ExtractorSpec",
    "MlpExtractor",
    "PooledExtractor",
    "ResNetExtractor",
    "Shape",
    "VitExtractor",
]
