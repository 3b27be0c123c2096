"""What a stage's families promise, looked at where it is used: a user's own may break it unseen."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nmoe_sim.errors import RunError

if TYPE_CHECKING:
    from nmoe_sim.nmoe.cohort import State
    from nmoe_sim.training.federation.federation import Federation
    from nmoe_sim.training.federation.history import Attempt


def checked_choice(chosen: Any, candidates: Sequence[int], count: int | None, who: str) -> list[int]:
    """Return the clients that a selection chose, in order of their numbers.

    Parameters
    ----------
    chosen : sequence of int
        What it returned.
    candidates : sequence of int
        Clients that can begin.
    count : int, optional
        How many it was asked for at most.
    who : str
        Stage and selection, for the message.

    Raises
    ------
    RunError
        It chose somebody who isn't a candidate, or twice, or more than it was asked for.
    """
    rule = "return some of candidates.clients, each once"
    if not isinstance(chosen, Sequence | np.ndarray):
        raise RunError(f"{who} chose {chosen!r}; {rule}, as a list")
    can, seen = set(candidates), set[int]()
    for client in chosen:
        if not isinstance(client, int | np.integer) or client not in can:
            shown = ", ".join(map(str, candidates[:10])) + (", …" if len(candidates) > 10 else "")
            raise RunError(f"{who} chose client {client!r}, and those that can begin are {shown or 'none'}; {rule}")
        if client in seen:
            raise RunError(f"{who} chose client {client} twice; {rule}")
        seen.add(int(client))
    if count is not None and len(chosen) > count:
        raise RunError(f"{who} chose {len(chosen)} clients where {count} were asked for; return at most so many")
    return sorted(seen)


def checked_bytes(n_bytes: Any, who: str) -> int:
    """Return the bytes of a payload.

    Raises
    ------
    RunError
        They aren't a whole number, or negative.
    """
    try:
        whole = operator.index(n_bytes)
    except TypeError:
        whole = -1
    if whole < 0:
        raise RunError(
            f"{who}: payload_bytes must return an int of at least 0, not {n_bytes!r}; round up to whole bytes"
        )
    return whole


def checked_pair(returned: Any, like: State, who: str) -> tuple[State, Any]:
    """Return a state and what comes with it.

    Parameters
    ----------
    returned : tuple
        What a user's method returned: a state, and something to remember.
    like : State
        What the state's names, shapes and types must be.
    who : str
        Stage, family, kind and method, for the message.

    Returns
    -------
    state : State
        In the order of ``like``.
    rest
        As it is; a mapping of tensors or None.

    Raises
    ------
    RunError
        It isn't such a pair; the first tensor that is missing, too many, or of another shape or type.
    """
    import torch

    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[0], Mapping):
        raise RunError(f"{who} must return two things, the first a mapping of tensors, not a {type(returned).__name__}")
    state, rest = returned
    if odd := sorted(set(like) ^ set(state), key=str):
        what = "lacks" if odd[0] in like else "has"
        raise RunError(f"{who} must return the tensors that it was given, and what it returns {what} {odd[0]!r}")
    for name, given in like.items():
        if not isinstance(made := state[name], torch.Tensor):
            raise RunError(f"{who} must return tensors, and {name!r} is a {type(made).__name__}")
        if (made.shape, made.dtype) != (given.shape, given.dtype):
            raise RunError(
                f"{who} must keep shapes and types, and makes of {name!r}, {given.dtype} of shape "
                f"{tuple(given.shape)}, {made.dtype} of shape {tuple(made.shape)}"
            )
    if rest is not None and not (isinstance(rest, Mapping) and all(map(torch.is_tensor, rest.values()))):
        raise RunError(f"{who} must return as its second a mapping of tensors, which is stored, not {rest!r}")
    return {name: state[name] for name in like}, rest


def arrived_work(attempt: Attempt, who: str) -> int:
    """Return what a part computed that is taken into a version.

    Raises
    ------
    RunError
        It computed nothing, has a reason why it doesn't count, or was taken already.
    """
    if attempt.work is None or attempt.reason is not None or attempt.version is not None:
        if attempt.version is not None:
            why = f"is in version {attempt.version} already"
        else:
            why = f"ended with {attempt.reason!r}" if attempt.reason else "hasn't trained"
        raise RunError(
            f"{who} closes a version with the part of client {attempt.client} in round {attempt.round}, which {why}; "
            "give federation.close parts whose process is through with the value True, each once"
        )
    return attempt.work


def check_end(federation: Federation, protocol: str) -> None:
    """Refuse how a protocol left a stage.

    Parameters
    ----------
    federation : Federation
        After the protocol's ``clock``.
    protocol : str
        Its kind, for the message.

    Raises
    ------
    RunError
        A client's part has neither a version nor a reason, or there are fewer versions than rounds although clients
        could go on.
    """
    who = f"training.{federation.clock.stage}: protocol '{protocol}'"
    attempts = federation.history.attempts
    if left := [one for one in attempts if one.version is None and one.reason is None]:
        raise RunError(
            f"{who} left {len(left)} of {len(attempts)} parts open, the first that of client {left[0].client} in round "
            f"{left[0].round}; end each with federation.close, which gives a version, or federation.stop, with a reason"
        )
    if federation.version < federation.rounds and not federation.is_over:
        raise RunError(
            f"{who} made {federation.version} of {federation.rounds} versions of the model while clients could go on; "
            "call federation.close, or close_gossip, once a round"
        )
