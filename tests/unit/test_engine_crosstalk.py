"""What is kept of gains between links is what the ether says, whichever are asked, in whatever order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmoe_sim.engine import crosstalk as module
from nmoe_sim.engine.crosstalk import Crosstalk

NUM_LINKS = 30
SENDER, RECEIVER = np.arange(NUM_LINKS), 100 + np.arange(NUM_LINKS)


class Gains:
    """Gains that tell for what they are, in sub-bands, and how many were asked for."""

    def __init__(self, num_subbands: int) -> None:
        self.num_subbands = num_subbands
        self.num_asked = 0

    def at(self, src: np.ndarray, dst: np.ndarray, block: int) -> np.ndarray:
        self.num_asked += len(src)
        return (1e6 * block + 1e3 * src + dst)[:, None] + np.arange(self.num_subbands) / 10


def antenna(at: np.ndarray, peer: np.ndarray, towards: np.ndarray, t_s: float) -> np.ndarray:
    return 1.0 + at + 2.0 * peer + 3.0 * towards + t_s


def between(gains: Gains, beams: Any, j: int, i: int, block: int) -> np.ndarray:
    [gain] = gains.at(SENDER[[j]], RECEIVER[[i]], block)
    if beams is None:
        return gain
    return (
        gain
        * antenna(SENDER[j], RECEIVER[j], RECEIVER[i], block / 8)
        * antenna(RECEIVER[i], SENDER[i], SENDER[j], block / 8)
    )


@pytest.mark.parametrize("spare", [0, 3, 64])
@pytest.mark.parametrize("beams", [None, SimpleNamespace(gain=antenna)], ids=["isotropic", "beams"])
@pytest.mark.parametrize("num_subbands", [1, 3])
def test_gains_are_those_of_the_ether(num_subbands, beams, spare, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SPARE", spare)
    gains, rng = Gains(num_subbands), np.random.default_rng(1)
    ether = SimpleNamespace(gains=gains, beams=beams, time_of=lambda block: block / 8)
    crosstalk = Crosstalk(ether, SENDER, RECEIVER)
    for step in range(80):
        links = rng.integers(0, NUM_LINKS, rng.integers(2, 9))
        heard = rng.random((len(links), len(links))) < 0.4
        heard[0, 1] = True
        block = int(rng.choice([step // 10, 3]))
        found = crosstalk.gains(links, heard, block)
        for j, i in zip(*np.nonzero(heard), strict=True):
            expected = between(gains, beams, links[j], links[i], block)
            np.testing.assert_allclose(found[j, i], expected, rtol=1e-14)


def test_a_pair_is_worked_out_once_a_block() -> None:
    gains = Gains(1)
    crosstalk = Crosstalk(SimpleNamespace(gains=gains, beams=None), SENDER, RECEIVER)
    links, all_heard = np.arange(5), ~np.eye(5, dtype=bool)
    crosstalk.gains(links, all_heard, 0)
    crosstalk.gains(links[::-1], all_heard, 0)
    assert gains.num_asked == 20
    crosstalk.gains(np.arange(6), ~np.eye(6, dtype=bool), 0)
    assert gains.num_asked == 20 + 2 * 5
    crosstalk.gains(links, all_heard, 1)
    assert gains.num_asked == 30 + 20
