"""Partitions: which client holds which samples."""

from nmoe_sim.nmoe.partition.base import Iid, Indices, PartitionSpec
from nmoe_sim.nmoe.partition.label_skew import Dirichlet, Shards
from nmoe_sim.nmoe.partition.local_test import matching_test_split
from nmoe_sim.nmoe.partition.quantity_skew import (
    QuantityDirichlet,
    QuantityLogNormal,
    QuantityPowerLaw,
    QuantitySkew,
)

__all__ = [
    "Dirichlet",
    "Iid",
    "Indices",
    "PartitionSpec",
    "QuantityDirichlet",
    "QuantityLogNormal",
    "QuantityPowerLaw",
    "QuantitySkew",
    "Shards",
    "matching_test_split",
]
