"""What the sharing policies promise, as far as tables can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Policy:
    """What is always true of a sharing policy; the defaults are true of any."""

    tx: Literal["medium", "radio"] = "radio"
    """Whether the senders of a medium take turns, or each radio may send all the time."""
    rx: Literal["medium", "radio"] = "radio"
    """The same of receivers."""
    fair: bool = False
    """Whether n hops that take turns each get a fraction 1/n of the time."""
    busy: bool = False
    """Whether all of the time is given away while there is something to send."""
    in_order: bool = False
    """Whether hops go on air one after the other, in the order they start."""
    spread: bool = False
    """Whether a hop carries its airtime x the link's rate; else at most the time from first to last bit x that rate."""


_TURNS = Policy("medium", "medium", busy=True, spread=True)

POLICIES: Mapping[str, Policy] = {
    "equal_share": Policy("medium", "medium", fair=True, busy=True, spread=True),
    "fifo": Policy("medium", "medium", busy=True, in_order=True, spread=True),
    "round_robin": _TURNS,
    "proportional_fair": _TURNS,
    "max_min": Policy("medium", "medium", spread=True),
    "fdma": Policy(fair=True, busy=True),
    "min_max_latency": Policy(),
    "csma_ca": Policy("radio", "medium"),
}


def policy_of(scenario: Mapping[str, Any]) -> Policy:
    """Return the promises of a scenario's policy; of one not known here, those that hold for any."""
    return POLICIES.get(scenario["radio"]["sharing"]["kind"], Policy())
