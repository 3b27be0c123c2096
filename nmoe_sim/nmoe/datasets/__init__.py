"""Data sets: images with labels, as NumPy arrays."""

from nmoe_sim.nmoe.datasets.base import Arrays, Dataset, DatasetSpec, Images, Labels, Pixels
from nmoe_sim.nmoe.datasets.cifar import Cifar10, Cifar100, Cifar100Coarse
from nmoe_sim.nmoe.datasets.digits import Digits
from nmoe_sim.nmoe.datasets.fashion_mnist import FashionMnist
from nmoe_sim.nmoe.datasets.files import FileDatasetSpec, Remote, RemoteFile

__all__ = [
    "Arrays",
    "Cifar10",
    "Cifar100",
    "Cifar100Coarse",
    "Dataset",
    "DatasetSpec",
    "Digits",
    "FashionMnist",
    "FileDatasetSpec",
    "Images",
    "Labels",
    "Pixels",
    "Remote",
    "RemoteFile",
]
