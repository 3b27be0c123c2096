"""What a policy is told about the active transfers, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from channels.link_adaptation import Transmission
from nmoe_sim.engine.sharing.media import FloatArray, IntArray, LinkState


class Conditions:
    """The links of all active legs [N] as they are now, whichever media they are on."""

    def __init__(self, state: LinkState) -> None:
        self.state = state

    @cached_property
    def alone(self) -> Transmission:
        """What each link carries on the whole band with its power spread over it [N]."""
        return self.state.transmission(np.ones(len(self.state.sinr)))

    def rate_at(self, legs: IntArray, concentration: FloatArray) -> FloatArray:
        """Return rates of some legs [..., n] at concentrations [..., n]."""
        everywhere = np.ones((*concentration.shape[:-1], len(self.state.sinr)))
        everywhere[..., legs] = concentration
        return np.asarray(self.state.transmission(everywhere).rate_bps[..., legs])


@dataclass(eq=False)
class Load:
    """The legs to plan for of one medium, or of all media if the policy is end-to-end; arrays [n], in order of start.

    A *leg* is one link of a transfer. Unless the policy is end-to-end, a transfer has one. Transfers that are mute
    now (``Sharing.audible``) are not in it, so numbers may go and come back.
    """

    t_s: float
    """Now."""
    number: IntArray
    """Number of the transfer, in order of start since the run began."""
    bits: FloatArray
    """Bits of the transfer."""
    bits_left: FloatArray
    """Bits it has still to send."""
    link: IntArray
    """Link, by its position in the band."""
    medium: IntArray
    """Medium of the link."""
    sender: IntArray
    """Node that transmits."""
    receiver: IntArray
    """Node that receives."""
    memory: Any
    """What ``Sharing.memory`` returned for this medium."""
    legs: IntArray = field(repr=False)
    """Position of each leg among those of all media."""
    conditions: Conditions | None = field(default=None, repr=False)
    """Set when rates are known: in ``plan``, not yet in ``activity``."""

    def __len__(self) -> int:
        return len(self.link)

    @property
    def rate_bps(self) -> FloatArray:
        """Rate at which bits would leave each leg's queue if it had its medium to itself now [n]."""
        return np.asarray(self._known.alone.rate_bps[self.legs])

    def rate_at(self, concentration: FloatArray) -> FloatArray:
        """Return rates on the whole band with SINR multiplied by ``concentration``; both [n] or [G, n]."""
        return self._known.rate_at(self.legs, concentration)

    @property
    def legs_of_sender(self) -> IntArray:
        """How many of these legs the sender of each transmits on [n]."""
        return np.asarray(np.bincount(self.sender)[self.sender])

    @property
    def legs_of_receiver(self) -> IntArray:
        """How many of these legs the receiver of each receives on [n]."""
        return np.asarray(np.bincount(self.receiver)[self.receiver])

    def only(self, leg: int) -> FloatArray:
        """Return 1 for one leg, 0 for the others [n]."""
        one = np.zeros(len(self))
        one[leg] = 1.0
        return one

    @property
    def _known(self) -> Conditions:
        if self.conditions is None:
            raise RuntimeError("rates depend on what is on air: they are known in plan(), not in activity()")
        return self.conditions


@dataclass(eq=False)
class Plan:
    """How the legs of a ``Load`` share their medium until something changes; arrays [n]."""

    share: FloatArray
    """Part of the band or of the time; the rate is share x rate at ``concentration``."""
    concentration: FloatArray | None = None
    """Factor of SINR from putting the power into a part of the band; None: 1."""
    part: FloatArray | None = None
    """Part of the band that ``share`` is in; a block then has this part of its bits. None: the whole band."""
    tx_share: FloatArray | None = None
    """Part of the time the sender's radio is on for this leg alone; None: ``share``."""
    rx_share: FloatArray | None = None
    """The same of the receiver's radio; None: ``share``."""
    valid_s: float = math.inf
    """Plan again at this time even if nothing changes, such as the end of a slot."""


def merged(loads: Sequence[Load], plans: Sequence[Plan], num_legs: int) -> Plan:
    """Return the plans of several media as one for all legs [N]; nothing for those that are in none of them."""
    if len(plans) == 1 and len(loads[0]) == num_legs:
        return plans[0]
    share, tx_share, rx_share = np.zeros((3, num_legs))
    concentration, part = np.ones((2, num_legs))
    for load, plan in zip(loads, plans, strict=True):
        share[load.legs] = plan.share
        tx_share[load.legs] = plan.share if plan.tx_share is None else plan.tx_share
        rx_share[load.legs] = plan.share if plan.rx_share is None else plan.rx_share
        concentration[load.legs] = 1.0 if plan.concentration is None else plan.concentration
        part[load.legs] = 1.0 if plan.part is None else plan.part
    spread = all(plan.concentration is None for plan in plans)
    whole = all(plan.part is None for plan in plans)
    return Plan(share, None if spread else concentration, None if whole else part, tx_share, rx_share)
