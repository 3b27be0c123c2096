"""Base of the family ``sharing``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from simpy import Environment

from nmoe_sim.engine.sharing.fluid import FluidMedia
from nmoe_sim.engine.sharing.media import Band, FloatArray, Media
from nmoe_sim.engine.sharing.plan import Load, Plan
from nmoe_sim.scenario.spec import Spec


class Sharing(Spec):
    """What the active transfers of a medium do with its spectrum.

    There are five ways to extend it: ``plan``, which must be given; ``activity``, where media interfere and the
    default is wrong; ``audible``, where links are used otherwise than on the whole band; ``memory``, for what a policy
    has to remember from plan to plan (a spec is frozen); and ``media``, for another engine than ``FluidMedia``.
    """

    end_to_end: ClassVar[bool] = False
    """Whether a transfer is on all links of its route at once; else it is stored and forwarded, link by link."""

    half_duplex_only: ClassVar[bool] = False
    """Whether both directions have to share one band."""

    listens: ClassVar[bool] = False
    """Whether all who use a band hear each other, so that one medium has to be all of it."""

    divides_band: ClassVar[bool] = False
    """Whether several radios are on air at once, each on a part of the band."""

    @abstractmethod
    def plan(self, load: Load) -> Plan:
        """Return how the active legs share until something changes.

        Asked at every start, end and change of rates.
        """

    def activity(self, load: Load) -> FloatArray:
        """Return the fraction of time each leg is on air, as media it interferes with see it [n].

        It is asked before rates are known, as these depend on it, and again without those that turn out to be mute.
        Here: equal parts of each medium's time.
        """
        return np.asarray(1.0 / np.bincount(load.medium)[load.medium])

    def audible(self, load: Load) -> NDArray[np.bool_]:
        """Return which legs carry anything at all [n]; the others are mute, and aren't scheduled.

        It is asked when rates are known, before ``plan``. Here: those with a rate on the whole band.
        """
        return load.rate_bps > 0

    def memory(self) -> Any:
        """Return an object that each medium's loads carry from plan to plan; None: nothing to remember."""
        return None

    def media(self, env: Environment, band: Band) -> Media:
        """Return the media of a band that is shared this way."""
        return FluidMedia(env, band, self)
