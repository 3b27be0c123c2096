"""Family ``sharing``: what the active transfers of a medium do with its spectrum.

A policy is a ``Sharing`` spec; it plans what ``FluidMedia`` does. ``media.py`` is what the network asks of media and
what media ask of the radio.
"""

from nmoe_sim.engine.sharing.csma import CsmaCa
from nmoe_sim.engine.sharing.filling import max_min_rates
from nmoe_sim.engine.sharing.fluid import FluidMedia
from nmoe_sim.engine.sharing.frequency_sharing import Fdma, MinMaxLatency
from nmoe_sim.engine.sharing.max_min import MaxMin
from nmoe_sim.engine.sharing.media import Band, Ended, Leg, LinkState, Media
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.engine.sharing.policy import Sharing
from nmoe_sim.engine.sharing.time_sharing import EqualShare, Fifo, ProportionalFair, RoundRobin
from nmoe_sim.engine.sharing.virtual_time import EqualShareMedium

__all__ = [
    "Band",
    "CsmaCa",
    "Ended",
    "EqualShare",
    "EqualShareMedium",
    "Fdma",
    "Fifo",
    "FluidMedia",
    "Leg",
    "LinkState",
    "Load",
    "MaxMin",
    "Media",
    "MinMaxLatency",
    "Plan",
    "ProportionalFair",
    "RoundRobin",
    "Sharing",
    "max_min_rates",
]
