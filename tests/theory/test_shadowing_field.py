"""The field of shadowing over pairs of positions: normal, and correlated as its formula says.

Over independent seeds, of which there are enough for 99.9 % confidence intervals of less than ±4 %.
"""

import numpy as np
import pytest
from scipy import stats

from channels.shadowing import PairField
from nmoe_sim.rng import RandomStreams

NUM_SEEDS = 7_000
Z_999 = stats.norm.ppf(0.9995)
D = 13.0
CELL = np.array([0.0, 0.0])
DEVICE = np.array([310.0, -170.0])
AWAY = np.array([0.6, 0.8])
NORTH = np.array([0.0, 1.0])
STEPS = (0.25, 1.0)

PAIRS = {
    "far": (CELL, DEVICE),
    **{f"path {step}": (CELL, DEVICE + step * D * AWAY) for step in STEPS},
    **{f"both {step}": (CELL - step * D * AWAY, DEVICE + step * D * NORTH) for step in STEPS},
    "near": (CELL, CELL + 0.3 * D * AWAY),
    "near, one step on": (CELL, CELL + 0.8 * D * AWAY),
    "one place": (CELL, CELL),
}


def rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.exp(-np.hypot(*(a - b)) / D))


def correlation(one: str, other: str) -> float:
    (a, b), (c, d) = PAIRS[one], PAIRS[other]
    covariance = rho(a, c) * rho(b, d) + rho(a, d) * rho(b, c)
    return covariance / np.sqrt((1 + rho(a, b) ** 2) * (1 + rho(c, d) ** 2))


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    """One draw a seed of every pair."""
    a, b = (np.stack(ends) for ends in zip(*PAIRS.values(), strict=True))
    values = [
        PairField(RandomStreams(seed).uniform, "shadowing", decorrelation_m=D).at(a, b) for seed in range(NUM_SEEDS)
    ]
    return dict(zip(PAIRS, np.transpose(values), strict=True))


@pytest.mark.parametrize("pair", PAIRS)
def test_every_value_is_standard_normal(pair: str, draws: dict[str, np.ndarray]) -> None:
    assert stats.kstest(draws[pair], "norm").pvalue > 0.001
    assert abs(draws[pair].mean()) < Z_999 / np.sqrt(NUM_SEEDS)
    assert abs(draws[pair].std() - 1.0) < Z_999 / np.sqrt(2.0 * NUM_SEEDS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("far", f"path {step}") for step in STEPS),
        *(("far", f"both {step}") for step in STEPS),
        ("path 0.25", "path 1.0"),
        ("near", "near, one step on"),
        ("near", "one place"),
        ("near", "far"),
    ],
)
def test_correlation(one: str, other: str, draws: dict[str, np.ndarray]) -> None:
    measured = np.corrcoef(draws[one], draws[other])[0, 1]
    half_width = Z_999 / np.sqrt(NUM_SEEDS - 3)
    assert abs(np.arctanh(measured) - np.arctanh(correlation(one, other))) < half_width


@pytest.mark.parametrize("step", STEPS)
def test_the_formula_is_an_exponential_along_a_path_and_a_product_for_both_ends(step: float) -> None:
    assert correlation("far", f"path {step}") == pytest.approx(np.exp(-step), abs=1e-9)
    assert correlation("far", f"both {step}") == pytest.approx(np.exp(-2 * step), abs=1e-9)


def test_one_run_decorrelates_as_the_seeds_do_together() -> None:
    """A run sees one set of waves: its own correlation along paths is within 0.02 of the formula (rms)."""
    errors = []
    for seed in range(8):
        field = PairField(RandomStreams(seed).uniform, "shadowing", decorrelation_m=D)
        positions = RandomStreams(seed).generator("positions").uniform(-100 * D, 100 * D, (2, 150, 2))
        here = field.matrix(positions[0], positions[1])
        for step in STEPS:
            there = field.matrix(positions[0], positions[1] + step * D * AWAY)
            errors.append(np.mean(here * there) - np.exp(-step))
    assert np.sqrt(np.mean(np.square(errors))) < 0.03  # 0.02, and the estimate's own spread


def test_a_smooth_field_is_squared_exponential_along_a_path() -> None:
    places = [DEVICE, *(DEVICE + step * D * AWAY for step in STEPS), CELL + 0.3 * D * AWAY]
    draws = np.array(
        [
            PairField(RandomStreams(seed).uniform, "los", decorrelation_m=D, smooth=True).at(CELL, places)
            for seed in range(NUM_SEEDS)
        ]
    ).T
    half_width = Z_999 / np.sqrt(NUM_SEEDS - 3)
    for values in draws:
        assert stats.kstest(values, "norm").pvalue > 0.001
    for values, step in zip(draws[1:3], STEPS, strict=True):
        assert abs(np.arctanh(np.corrcoef(draws[0], values)[0, 1]) - np.arctanh(np.exp(-(step**2)))) < half_width


def test_fields_of_other_names_are_independent() -> None:
    uniform = RandomStreams(3).uniform
    positions = RandomStreams(3).generator("positions").uniform(-1000 * D, 1000 * D, (2, 3000, 2))
    one, other = (PairField(uniform, name, decorrelation_m=D).at(*positions) for name in ("los", "shadowing/los"))
    assert abs(np.corrcoef(one, other)[0, 1]) < Z_999 / np.sqrt(3000)
