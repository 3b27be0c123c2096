"""Stochastic quantisation is unbiased, and its variance is p(1 − p) a level, within the bounds of its docstring."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nmoe_sim.nmoe.compression import Quantise

DRAWS = 30_000
Z = 3.2905  # of 99.9 %, two-sided


def samples(values, bits, bucket_size=None):
    """Quantise the same values again and again: one draw a row."""
    spec = Quantise(bits=bits, bucket_size=bucket_size or len(values))
    state = {"w": torch.from_numpy(np.tile(values, (DRAWS, 1)))}
    return spec.compress(state, None, torch.Generator().manual_seed(7))[0]["w"].numpy()


CASES = {
    "normal": np.random.default_rng(0).normal(size=24),
    "one_large": np.r_[1.0, np.full(23, 0.01)],
    "half_way": np.r_[7.0, np.full(23, 0.5)],  # in the middle between levels of 4 bits: the largest variance
}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    ("case", "bucket_size"), [("normal", None), ("normal", 8), ("one_large", None), ("half_way", None), ("half_way", 8)]
)
def test_mean_and_variance(case, bits, bucket_size):
    values, levels = CASES[case], 2 ** (bits - 1) - 1
    step = np.repeat(np.abs(values).reshape(-1, bucket_size or 24).max(axis=1), bucket_size or 24) / levels
    seen = samples(values, bits, bucket_size)

    share = np.abs(values) / step % 1.0
    variance = step**2 * share * (1 - share)
    # the mean of all coordinates together, weighted so that errors can't cancel by sign
    signs = np.where(np.arange(24) % 2, 1.0, -1.0)
    half_width = Z * math.sqrt(variance.sum() / DRAWS)
    assert abs(signs @ (seen.mean(axis=0) - values)) <= half_width + 1e-9
    worst = np.abs(seen.mean(axis=0) - values) / np.maximum(np.sqrt(variance / DRAWS), 1e-12)
    assert worst[variance > 1e-12].max(initial=0.0) < 4.5  # 24 coordinates at once

    errors = ((seen - values) ** 2).sum(axis=1)
    half_width = Z * errors.std() / math.sqrt(DRAWS)
    assert abs(errors.mean() - variance.sum()) <= half_width + 1e-12
    assert half_width < 0.04 * errors.mean() or errors.mean() < 1e-9


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("case", list(CASES))
def test_variance_bounds(case, bits):
    """One bucket: the squared error that is seen, but for its standard error, is within each bound."""
    values, levels = CASES[case], 2 ** (bits - 1) - 1
    largest, d = np.abs(values).max(), len(values)
    errors = ((samples(values, bits) - values) ** 2).sum(axis=1)
    seen = errors.mean() - Z * errors.std() / math.sqrt(DRAWS)
    assert seen <= d * largest**2 / (4 * levels**2)
    assert seen <= largest * np.abs(values).sum() / levels
    assert seen <= min(d / (4 * levels**2), math.sqrt(d) / levels) * (values**2).sum()


def test_the_bound_is_nearly_reached():
    values = CASES["half_way"]
    seen = samples(values, 4)
    bound = 24 * 7.0**2 / (4 * 7**2)
    assert 0.9 * bound < ((seen - values) ** 2).sum(axis=1).mean() <= bound


def test_smaller_buckets_make_less_noise():
    values = np.random.default_rng(1).normal(size=64) * np.linspace(0.01, 1.0, 64)
    noise = [((samples(values, 4, size)[:2000] - values) ** 2).sum() for size in (64, 16, 4)]
    assert noise[0] > noise[1] > noise[2]
