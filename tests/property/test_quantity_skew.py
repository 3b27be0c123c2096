import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.partition import QuantityDirichlet, QuantityLogNormal, QuantityPowerLaw

seeds = st.integers(0, 2**32 - 1)
laws = st.one_of(
    st.builds(QuantityDirichlet, alpha=st.sampled_from([1e-3, 0.1, 1.0, 1e6]), min_samples=st.integers(1, 12)),
    st.builds(QuantityLogNormal, sigma=st.sampled_from([0.0, 1.0, 10.0]), min_samples=st.integers(1, 12)),
    st.builds(QuantityPowerLaw, exponent=st.sampled_from([0.0, 1.0, 10.0]), min_samples=st.integers(1, 12)),
)


def assigned(spec, num_samples, num_clients, seed=0):
    labels = np.arange(num_samples) % 10
    return spec.assign(labels, num_clients=num_clients, num_classes=10, rng=np.random.default_rng(seed))


@settings(max_examples=100, deadline=None)
@given(laws, st.integers(1, 30), st.integers(0, 300), seeds)
def test_every_sample_goes_to_one_client_and_none_has_too_few(spec, num_clients, spare, seed):
    num_samples = spec.min_samples * num_clients + spare
    parts = assigned(spec, num_samples, num_clients, seed)
    assert len(parts) == num_clients
    assert min(map(len, parts)) >= spec.min_samples
    assert all((np.diff(part) > 0).all() for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(num_samples))


@pytest.mark.parametrize("law", [QuantityDirichlet, QuantityLogNormal, QuantityPowerLaw])
def test_too_few_samples_for_the_floor_are_refused(law):
    with pytest.raises(InputError, match="29 training samples can't give each of 3 clients min_samples 10; lower"):
        assigned(law(min_samples=10), 29, 3)
    assert [len(part) for part in assigned(law(min_samples=10), 30, 3)] == [10, 10, 10]


@pytest.mark.parametrize("spec", [QuantityDirichlet(), QuantityLogNormal(), QuantityPowerLaw()])
def test_a_clients_classes_are_those_of_the_whole(spec):
    p_values = []
    for seed in range(40):
        for part in assigned(spec, 2000, 5, seed):
            if len(part) >= 100:
                counts = np.bincount(part % 10, minlength=10)
                p_values.append(stats.chisquare(counts).pvalue)
    assert np.mean(np.array(p_values) < 0.05) < 0.1


def sizes(spec, num_clients, num_runs, num_samples=100_000):
    return np.array(
        [[len(part) for part in assigned(spec, num_samples, num_clients, seed)] for seed in range(num_runs)]
    )


def test_dirichlet_sizes_have_the_laws_spread():
    alpha, n = 0.7, 5
    found = sizes(QuantityDirichlet(alpha=alpha, min_samples=1), n, 1000, num_samples=2000)
    assert found.std() / found.mean() == pytest.approx(np.sqrt((n - 1) / (n * alpha + 1)), rel=0.05)


def test_ratios_of_log_normal_sizes_are_log_normal():
    found = sizes(QuantityLogNormal(sigma=0.8, min_samples=1), 2, 600, num_samples=20_000) - 1
    ratios = np.log(found[:, 0] / found[:, 1]) / (0.8 * np.sqrt(2))
    assert stats.kstest(ratios, "norm").pvalue > 0.001


def test_power_law_sizes_follow_rank_and_ranks_are_dealt_at_random():
    found = sizes(QuantityPowerLaw(exponent=1.5, min_samples=20), 6, 60)
    expected = np.arange(1, 7) ** -1.5
    expected *= (100_000 - 6 * 20) / expected.sum()
    np.testing.assert_allclose(np.sort(found, axis=1)[:, ::-1] - 20, np.tile(expected, (60, 1)), atol=1)
    assert len({int(row.argmax()) for row in found}) == 6


@pytest.mark.parametrize(
    "spec", [QuantityLogNormal(sigma=0.0, min_samples=1), QuantityPowerLaw(exponent=0.0, min_samples=1)]
)
def test_without_skew_sizes_are_even(spec):
    found = sizes(spec, 7, 3, num_samples=1000)
    assert found.max() - found.min() <= 1
