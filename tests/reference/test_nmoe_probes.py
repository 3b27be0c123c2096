"""Probes of frozen features against scikit-learn, and cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from nmoe_sim.nmoe import probes
from nmoe_sim.nmoe.probes import fit_linear_probe, knn_accuracy, linear_probe_accuracy

NUM_TRAIN = 700


@pytest.fixture(scope="module")
def digits():
    """Training and test features and labels, in random but fixed order."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    x, y = load_digits(return_X_y=True)
    h, y = torch.tensor(x, dtype=torch.float32)[order], torch.tensor(y)[order]
    return h[:NUM_TRAIN], y[:NUM_TRAIN], h[NUM_TRAIN:], y[NUM_TRAIN:]


@pytest.mark.parametrize(("k", "temperature"), [(200, 0.1), (5, 0.1), (1, 0.5), (NUM_TRAIN, 0.02), (50, 0.001)])
@pytest.mark.parametrize("chunk_values", [NUM_TRAIN * 64, probes._CHUNK_VALUES])
def test_neighbours_vote_as_in_scikit_learn(digits, k, temperature, chunk_values, monkeypatch):
    monkeypatch.setattr(probes, "_CHUNK_VALUES", chunk_values)
    train_h, train_y, test_h, test_y = digits
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / temperature)
    ).fit(train_h.double().numpy(), train_y.numpy())
    expected = reference.score(test_h.double().numpy(), test_y.numpy())
    got = knn_accuracy(train_h, train_y, test_h, test_y, 10, k, temperature)
    assert got == pytest.approx(expected, abs=1.5 / len(test_y))  # float32: one tie may fall otherwise


def test_more_neighbours_than_samples_are_all_of_them(digits):
    train_h, train_y, test_h, test_y = digits
    all_of_them = knn_accuracy(train_h[:30], train_y[:30], test_h, test_y, 10, k=30)
    assert knn_accuracy(train_h[:30], train_y[:30], test_h, test_y, 10, k=200) == all_of_them


def test_votes_by_hand():
    """Directions, not lengths; two far votes against a near one."""
    train_h = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    train_y, test_h = torch.tensor([1, 0, 0]), torch.tensor([[3.0, 2.0]])
    # cosines 0.832, 0.555, 0.555: class 1 wins where exp(0.277/temperature) > 2, so below 0.400
    assert knn_accuracy(train_h, train_y, test_h, torch.tensor([1]), 3, temperature=0.39) == 1.0
    assert knn_accuracy(train_h, train_y, test_h, torch.tensor([0]), 3, temperature=0.41) == 1.0


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_a_linear_probe_is_scikit_learns_logistic_regression(digits, l2):
    train_h, train_y, test_h, test_y = digits
    scaler = StandardScaler().fit(train_h.double().numpy())
    reference = LogisticRegression(C=1 / (l2 * NUM_TRAIN), tol=1e-10, max_iter=5000)
    reference.fit(scaler.transform(train_h.double().numpy()), train_y.numpy())
    weight_CD, bias_C = fit_linear_probe(train_h, train_y, 10, l2, 500)
    np.testing.assert_allclose(weight_CD.numpy(), reference.coef_, atol=2e-3)
    np.testing.assert_allclose(bias_C - bias_C.mean(), reference.intercept_ - reference.intercept_.mean(), atol=5e-3)
    expected = reference.score(scaler.transform(test_h.double().numpy()), test_y.numpy())
    got = linear_probe_accuracy(train_h, train_y, test_h, test_y, 10, l2)
    assert got == pytest.approx(expected, abs=1.5 / len(test_y))


def test_a_linear_probe_does_not_care_how_features_are_scaled_shifted_or_ordered(digits):
    train_h, train_y, test_h, test_y = digits
    plain = linear_probe_accuracy(train_h, train_y, test_h, test_y, 10)
    scale, shift = torch.rand(64, dtype=torch.float64) * 10 + 0.1, torch.randn(64, dtype=torch.float64)
    order = torch.randperm(NUM_TRAIN)
    other = linear_probe_accuracy(
        (train_h.double() * scale + shift)[order], train_y[order], test_h.double() * scale + shift, test_y, 10
    )
    assert other == pytest.approx(plain, abs=1.5 / len(test_y))
    assert plain == linear_probe_accuracy(train_h, train_y, test_h, test_y, 10)


def test_features_that_say_nothing_give_the_most_frequent_class():
    train_y, test_y = torch.tensor([0, 2, 2, 2, 1]), torch.tensor([2, 2, 0, 1])
    constant = linear_probe_accuracy(torch.ones(5, 3), train_y, torch.ones(4, 3), test_y, 4)
    assert constant == knn_accuracy(torch.ones(5, 3), train_y, torch.ones(4, 3), test_y, 4) == 0.5


def test_the_result_does_not_depend_on_the_number_of_threads(digits):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append((linear_probe_accuracy(*digits, 10), knn_accuracy(*digits, 10)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
