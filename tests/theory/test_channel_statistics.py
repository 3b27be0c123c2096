"""How often a ``Channel`` has line of sight, and how its shadowing scatters, against the laws it is made of.

Both over pairs that have a draw each, and over pairs of one field that are many correlation distances apart.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chi2, kstest

from channels import Channel, Sites
from nmoe_sim.engine.radio.fading import NoFading
from nmoe_sim.engine.radio.path_loss import UrbanMicro
from nmoe_sim.engine.radio.shadowing import LogNormal
from nmoe_sim.rng import RandomStreams

SEED = 20240607
CONFIDENCE = 0.999
NUM_PAIRS = 10_000
DISTANCE_M = 60.0


class Unrelated(UrbanMicro):
    """UMi in which pairs have nothing to do with each other."""

    @property
    def los_decorrelation_m(self) -> float:
        """Return 0."""
        return 0.0

    def shadow_decorrelation_m(self, los: bool) -> float:
        """Return 0."""
        return 0.0


def large_scale(law: UrbanMicro):
    """Return the law's geometry and the state of pairs of one distance, neighbours 500 m apart on a grid."""
    grid = np.moveaxis(np.indices((100, NUM_PAIRS // 100)), 0, -1).reshape(-1, 2) * 500.0
    ends_m = np.concatenate([grid, grid + np.array([DISTANCE_M, 0.0])])
    channel = Channel(
        Sites.static(ends_m, np.repeat([10.0, 1.5], NUM_PAIRS)),
        carrier_hz=3.5e9,
        path_loss=law,
        shadowing=LogNormal(),
        fading=NoFading(),
        uniform=RandomStreams(SEED).uniform,
    )
    src = np.arange(NUM_PAIRS)
    return channel.geometry(src, src + NUM_PAIRS, 0.0), channel.large_scale(src, src + NUM_PAIRS, [0.0])


@pytest.mark.parametrize("law", [UrbanMicro(), Unrelated()], ids=["fields", "draws"])
def test_line_of_sight_is_as_frequent_and_shadowing_as_strong_as_the_law_says(law: UrbanMicro) -> None:
    geometry, state = large_scale(law)
    is_los = state.is_los[0]
    # TR 38.901, Table 7.4.2-1, UMi: 18/d + exp(-d/36)·(1 - 18/d)
    probability = 18 / DISTANCE_M + np.exp(-DISTANCE_M / 36) * (1 - 18 / DISTANCE_M)
    low, high = binom.interval(CONFIDENCE, NUM_PAIRS, probability)
    assert (high - low) / 2 < 0.04 * NUM_PAIRS * probability
    assert low <= is_los.sum() <= high

    for los, std_db in ((True, 4.0), (False, 7.82)):  # Table 7.4.1-1
        here = is_los == los
        loss_db = law.path_loss_db(geometry, carrier_hz=3.5e9, los=np.full(NUM_PAIRS, los))[here]
        shadowing_db = state.mean_gain_db[0, here] + loss_db
        assert kstest(shadowing_db / std_db, "norm").pvalue > 1 - CONFIDENCE
        low, high = np.array(chi2.interval(CONFIDENCE, here.sum())) / here.sum()
        assert (np.sqrt(high) - np.sqrt(low)) / 2 < 0.05
        assert low <= np.mean((shadowing_db / std_db) ** 2) <= high
