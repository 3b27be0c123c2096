"""Data that break what their families promise are refused with the client, the value, the rule and the remedy."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_scenario

from nmoe_sim.checks import check
from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.data_inspection import inspect_dataset, inspect_seen, inspected_parts
from nmoe_sim.nmoe.datasets import Digits
from nmoe_sim.nmoe.datasets.base import Dataset
from nmoe_sim.nmoe.feature_skew import Noise
from nmoe_sim.nmoe.partition import Iid
from nmoe_sim.preparation import prepare

SHAPE = (1, 4, 4)


def dataset(**changes):
    draws = np.random.default_rng(1)
    images = draws.random((12, *SHAPE), dtype=np.float32)
    labels = np.arange(12) % 3
    return replace(Dataset(images, labels, images[:6], labels[:6], 3), **changes)


def with_value(value):
    images = dataset().train_x.copy()
    images[5, 0, 2, 3] = value
    return images


def test_a_sound_data_set_passes_at_the_ends_of_the_ranges():
    ends = np.zeros((12, *SHAPE), np.float32)
    ends[1:] = 1.0
    inspect_dataset(dataset(train_x=ends), SHAPE, 3)
    inspect_dataset(dataset(test_x=ends[:0], test_y=dataset().test_y[:0]), SHAPE, 3)


@pytest.mark.parametrize(("changes", "message"), [
    ({"train_y": np.arange(12)}, r"^data: .*training labels are outside 0\.\.2 for 9 of 12 samples, such as 3"),
    ({"test_y": np.arange(6) - 1}, r"test labels are outside 0\.\.2 for 3 of 6 samples, such as -1"),
    ({"test_y": np.zeros(6)}, r"test labels are of float64, shape \(6,\), and must be of int64"),
    ({"test_y": [0] * 6}, "test labels must be a NumPy array of int64, not a list"),
    ({"train_y": np.zeros((12, 1), np.int64)}, r"labels are of int64, shape \(12, 1\)"),
    ({"num_classes": 4}, "has 4 classes and declares 3"),
    ({"train_x": dataset().train_x[:, :, :3]}, r"images are of float32, shape \(12, 1, 3, 4\), .* \(12, 1, 4, 4"),
    ({"train_x": dataset().train_x[:11]}, r"shape \(11, 1, 4, 4\), and must be of float32, shape \(12,"),
    ({"test_x": dataset().test_x.astype(np.float64)}, "test images are of float64"),
    ({"train_x": with_value(np.nan)}, "training images have values that aren't finite"),
    ({"train_x": with_value(np.inf)}, "aren't finite"),
    ({"train_x": with_value(1.5)}, r"images have values from 0\.0\d+ to 1\.5, outside \[0, 1\]; scale or clip"),
    ({"train_x": with_value(-1e-6)}, r"values from -9\.99\d+e-07 to .*outside"),
])  # fmt: skip
def test_a_data_set_that_breaks_its_word_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        inspect_dataset(dataset(**changes), SHAPE, 3)


@pytest.mark.parametrize(("parts", "message"), [
    ([[0, 1, 2], []], r"^data\.partition: the partition gives client 1 no samples; 'assign' must"),
    ([[0, 1, 2], [2, 1, 3]], r"client 1 samples that others have \(2 of them\), such as client 0"),
    ([[0, 1, 1], [2]], r"client 0 samples twice \(1 of them\)"),
    ([[0, 1], [2, 10, -1]], r"client 1 indices outside 0\.\.9 \(2 of them\)"),
    ([[0, 1], [2.0, 3.0]], r"client 1 an array of float64, shape \(2,\)"),
    ([[0, 1], np.ones(10, bool)], "client 1 an array of bool"),
    ([[0, 1], [[2, 3]]], r"shape \(1, 2\)"),
    ([[0, 1]], "makes 1 parts for 2 clients"),
    (None, "makes a NoneType"),
])  # fmt: skip
def test_parts_that_no_split_could_be_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        inspected_parts(parts, 10, 2)


def test_parts_may_leave_samples_out_and_are_arrays_of_int64():
    first, second = inspected_parts([np.array([4, 0], np.int32), [9]], 10, 2)
    assert first.tolist() == [4, 0]
    assert second.tolist() == [9]
    assert first.dtype == second.dtype == np.int64


@pytest.mark.parametrize(("seen", "message"), [
    (dataset().train_x[:3], r"^data\.feature_skew: client 4's images are of float32, shape \(3,.* \(12, 1, 4, 4\)"),
    (dataset().train_x.astype(np.float64), "of float64"),
    (dataset().train_x * 2, "outside"),
    (None, "not a NoneType"),
])  # fmt: skip
def test_what_a_client_sees_keeps_shape_and_range(seen, message):
    with pytest.raises(InputError, match=message):
        inspect_seen(seen, (12, *SHAPE), 4)


def test_a_run_asks_all_three(monkeypatch):
    scenario = tiny_scenario({"data.feature_skew": {"kind": "noise"}, "data.partition": {"kind": "iid"}})
    layout = check(scenario)

    def refused(owner, method, change, message):
        with monkeypatch.context() as patch:
            plain = getattr(owner, method)
            patch.setattr(owner, method, lambda *args, **kwargs: change(plain(*args, **kwargs)))
            with pytest.raises(InputError, match=message):
                prepare(scenario, layout)

    refused(Digits, "load", lambda found: replace(found, train_y=found.train_y + 5), r"data: .* are outside 0\.\.9")
    refused(Iid, "assign", lambda parts: [parts[0], *parts[:-1]], r"data\.partition: .*client 1 samples that others")
    refused(Noise, "apply", lambda seen: seen - 1, r"data\.feature_skew: client 0's images have values from -1 to 0,")
