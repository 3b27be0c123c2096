"""What each client sees: angles, noise, and a test set in which every sample is seen by whom it belongs to."""

import numpy as np
import pytest
from conftest import tiny_scenario
from scipy import ndimage

from nmoe_sim.checks import check
from nmoe_sim.nmoe.feature_skew import Combined, NoFeatureSkew, Noise, Rotation, skewed_test_set
from nmoe_sim.preparation import prepare
from nmoe_sim.rng import RandomStreams

STREAMS = RandomStreams(5)


def images(n=6, shape=(2, 9, 9), seed=0):
    return np.random.default_rng(seed).random((n, *shape), dtype=np.float32)


def seen(skew, x, client, num_clients=4, split="train"):
    return skew.apply(x, client=client, num_clients=num_clients, streams=STREAMS, split=split)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 9), (2, 12, 7)])
def test_rotation_is_that_of_scipy(shape):
    x, skew = images(shape=shape), Rotation(max_deg=70.0)
    for client in range(4):
        angle_deg = skew.angle_deg(client, 4)
        expected = ndimage.rotate(x, angle_deg, axes=(3, 2), reshape=False, order=1, mode="grid-constant")
        np.testing.assert_allclose(seen(skew, x, client), expected.clip(0, 1), atol=1e-5)


def test_a_quarter_turn_is_anticlockwise():
    skew = Rotation(max_deg=180.0)  # of two clients, the second is turned by 90°
    assert [skew.angle_deg(client, 2) for client in range(2)] == [-90.0, 90.0]
    x = images()
    np.testing.assert_allclose(seen(skew, x, 1, 2), np.rot90(x, 1, axes=(2, 3)), atol=1e-5)


def test_angles_fill_the_range_evenly_and_one_client_is_upright():
    angles = np.array([Rotation(max_deg=60.0).angle_deg(client, 6) for client in range(6)])
    np.testing.assert_allclose(angles, [-50, -30, -10, 10, 30, 50])
    assert Rotation().angle_deg(0, 1) == 0
    x = images()
    np.testing.assert_allclose(seen(Rotation(), x, 0, 1), x, atol=1e-6)


def test_noise_grows_from_client_to_client():
    skew, grey = Noise(max_std=0.08), np.full((300, 1, 8, 8), 0.5, dtype=np.float32)
    for client in range(4):
        noise = seen(skew, grey, client) - 0.5
        assert noise.std() == pytest.approx(0.08 * (client + 1) / 4, rel=0.02)
        assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(noise.size)
    assert seen(Noise(max_std=5.0), grey, 3).min() == 0.0
    assert seen(Noise(max_std=5.0), grey, 3).max() == 1.0


def test_draws_are_of_the_client_and_the_split_not_of_the_order():
    x, skew = images(), Noise()
    last = seen(skew, x, 3)
    first = seen(skew, x, 0)
    assert np.array_equal(seen(skew, x, 0), first)
    assert np.array_equal(seen(skew, x, 3), last)
    assert not np.array_equal(seen(skew, x, 3, split="test"), last)
    ratio = (seen(Noise(max_std=1e-3), x, 3) - x)[x < 0.9] / 1e-3
    other = (seen(Noise(max_std=1e-3), x, 1) - x)[x < 0.9] / 0.5e-3
    assert abs(np.corrcoef(ratio, other)[0, 1]) < 0.2


def test_combined_is_one_after_the_other():
    x, skew = images(), Combined(max_deg=30.0, max_std=0.1)
    expected = seen(Noise(max_std=0.1), seen(Rotation(max_deg=30.0), x, 2), 2)
    np.testing.assert_array_equal(seen(skew, x, 2), expected)
    assert skew.label(client=2, num_clients=4, streams=STREAMS) == "+7.5°, noise 0.075"
    assert NoFeatureSkew().label(client=0, num_clients=4, streams=STREAMS) is None


def test_each_test_sample_is_seen_by_its_client_and_the_others_stay():
    x, skew = images(10), Rotation(max_deg=90.0)
    parts = [np.array([0, 7]), np.array([], dtype=np.int64), np.array([3, 4, 5])]
    before = x.copy()
    seen_x = skewed_test_set(skew, x, parts, STREAMS)
    assert np.array_equal(x, before)
    for client, rows in enumerate(parts):
        np.testing.assert_array_equal(seen_x[rows], seen(skew, x[rows], client, 3, "test"))
    nobodys = [1, 2, 6, 8, 9]
    np.testing.assert_array_equal(seen_x[nobodys], x[nobodys])


def prepared(skew):
    scenario = tiny_scenario({"data.feature_skew": skew})
    return prepare(scenario, check(scenario)).data


def test_a_run_has_it_in_training_data_and_local_test_sets_and_nowhere_else():
    plain, skewed = prepared({"kind": "none"}), prepared({"kind": "rotation", "max_deg": 90.0})
    assert skewed.digest == plain.digest
    assert skewed.split_digest != plain.split_digest
    assert prepared({"kind": "rotation", "max_deg": 91.0}).split_digest != skewed.split_digest
    skew = Rotation(max_deg=90.0)
    for client, rows in enumerate(plain.test_parts):
        assert np.array_equal(rows, skewed.test_parts[client])
        assert np.array_equal(plain.train_y[client], skewed.train_y[client])
        for before, after, split in (
            (plain.train_x[client], skewed.train_x[client], "train"),
            (plain.test_x[rows], skewed.test_x[rows], "test"),
        ):
            np.testing.assert_array_equal(after.numpy(), seen(skew, before.numpy(), client, 3, split))
