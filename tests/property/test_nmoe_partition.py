import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.partition import Dirichlet, Iid, Shards, matching_test_split

seeds = st.integers(0, 2**32 - 1)


def labels_of(seed, num_samples, num_classes):
    return np.random.default_rng(seed).integers(num_classes, size=num_samples)


def assert_disjoint_and_sorted(parts, num_samples):
    joined = np.concatenate(parts)
    assert len(np.unique(joined)) == len(joined)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert ((joined >= 0) & (joined < num_samples)).all()
    return joined


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 20), st.integers(2, 10), st.sampled_from([0.3, 1.0, 100.0]))
def test_iid_and_dirichlet_hand_out_every_sample_once(seed, num_clients, num_classes, alpha):
    y = labels_of(seed, 400, num_classes)
    for spec in (Iid(), Dirichlet(alpha=alpha, min_samples=1)):
        parts = spec.assign(y, num_clients=num_clients, num_classes=num_classes, rng=np.random.default_rng(seed))
        assert len(parts) == num_clients
        assert min(len(part) for part in parts) >= 1
        assert len(assert_disjoint_and_sorted(parts, 400)) == 400


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 20), st.integers(1, 10), st.integers(1, 10))
def test_shards_hold_exactly_so_many_classes_and_leave_none_out(seed, num_clients, num_classes, per_client):
    assume(per_client <= num_classes)
    y = np.random.default_rng(seed).permutation(np.arange(600) % num_classes)
    spec = Shards(classes_per_client=per_client)
    parts = spec.assign(y, num_clients=num_clients, num_classes=num_classes, rng=np.random.default_rng(seed))
    joined = assert_disjoint_and_sorted(parts, 600)
    assert all(len(np.unique(y[part])) == per_client for part in parts)
    holders = np.array([sum(label in y[part] for part in parts) for label in range(num_classes)])
    assert holders.max() - holders.min() <= 1
    held = np.flatnonzero(holders)
    np.testing.assert_array_equal(np.sort(joined), np.flatnonzero(np.isin(y, held)))
    if num_clients * per_client >= num_classes:
        assert len(held) == num_classes
    counts = np.array([np.bincount(y[part], minlength=num_classes) for part in parts])
    for label in held:
        shares = counts[counts[:, label] > 0, label]
        assert shares.max() - shares.min() <= 1


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(20, 300))
def test_test_split_follows_the_training_distribution_to_within_a_sample_a_class(seed, num_clients, num_test):
    rng = np.random.default_rng(seed)
    y_train, y_test = labels_of(seed, 500, 5), labels_of(seed + 1, num_test, 5)
    parts = Dirichlet(alpha=0.5, min_samples=1).assign(y_train, num_clients=num_clients, num_classes=5, rng=rng)
    split = matching_test_split(parts, y_train, y_test, 5, rng)
    assert len(assert_disjoint_and_sorted(split, num_test)) == num_test
    for part, own in zip(parts, split, strict=True):
        ideal = (
            np.bincount(y_train[part], minlength=5)
            / np.bincount(y_train, minlength=5)
            * np.bincount(y_test, minlength=5)
        )
        assert (np.abs(np.bincount(y_test[own], minlength=5) - ideal) < 1).all()


def test_a_class_nobody_holds_is_in_no_test_split():
    y_train, y_test = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])
    split = matching_test_split([np.array([0, 1]), np.array([2, 3])], y_train, y_test, 3, np.random.default_rng(0))
    assert [part.tolist() for part in split] == [[0], [1]]


def test_dirichlet_share_of_a_class_has_the_mean_and_variance_of_the_law():
    alpha, n, runs = 0.5, 4, 1500
    spec, y = Dirichlet(alpha=alpha, min_samples=1), np.repeat(np.arange(3), 200)
    rng = np.random.default_rng(7)
    parts = [spec.assign(y, num_clients=n, num_classes=3, rng=rng) for _ in range(runs)]
    shares = np.array([np.bincount(y[part], minlength=3) / 200 for run in parts for part in run])
    assert shares.mean() == pytest.approx(1 / n)
    # Dirichlet(α, …, α): Var = (1/n)(1 − 1/n)/(nα + 1)
    assert shares.var() == pytest.approx((1 / n) * (1 - 1 / n) / (n * alpha + 1), rel=0.04)


def test_iid_shares_differ_by_one_at_most():
    parts = Iid().assign(np.zeros(10, int), num_clients=3, num_classes=1, rng=np.random.default_rng(0))
    assert sorted(len(part) for part in parts) == [3, 3, 4]


@pytest.mark.parametrize(
    ("spec", "arguments", "says"),
    [
        (Iid(), (5, 10, 4), "take fewer clients or raise data.max_train"),
        (Dirichlet(min_samples=20), (10, 10, 150), "lower min_samples"),
        (Shards(classes_per_client=11), (10, 10), "give at most 10"),
    ],
)
def test_impossible_settings_are_refused_without_data(spec, arguments, says):
    with pytest.raises(ValueError, match=says):
        spec.check(*arguments)
    assert spec.check(2, 11, 1000) is None


def test_dirichlet_gives_up_with_a_remedy():
    with pytest.raises(InputError, match="raise alpha, lower min_samples or take fewer clients") as caught:
        Dirichlet(alpha=0.01, min_samples=20).assign(
            np.arange(400) % 2, num_clients=20, num_classes=2, rng=np.random.default_rng(0)
        )
    assert caught.value.key == "data.partition.min_samples"


def test_shards_refuse_a_class_with_fewer_samples_than_holders():
    with pytest.raises(InputError, match="1 training samples for 4 holders"):
        Shards(classes_per_client=1).assign(
            np.array([0, 1, 1, 1, 1, 1, 1, 1]), num_clients=8, num_classes=2, rng=np.random.default_rng(0)
        )
