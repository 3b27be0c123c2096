"""Answers of all requests in batches equal one request at a time, in NumPy."""

import numpy as np
import pytest
import torch

from nmoe_sim.inference.answers import predictions
from nmoe_sim.inference.received import ExactOutputs
from nmoe_sim.inference.service import Served
from nmoe_sim.inference.workload import Workload

NUM_CLIENTS, NUM_SAMPLES, NUM_EXPERTS, NUM_CLASSES, NUM_REQUESTS = 3, 20, 5, 4, 400


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(5)
    scores = rng.normal(size=(NUM_CLIENTS, NUM_SAMPLES, NUM_EXPERTS)).astype(np.float32)
    outputs = 3 * rng.normal(size=(NUM_EXPERTS, NUM_SAMPLES, NUM_CLASSES)).astype(np.float32)
    workload = Workload(
        np.sort(rng.uniform(size=NUM_REQUESTS)),
        rng.integers(0, NUM_CLIENTS, NUM_REQUESTS),
        rng.integers(0, NUM_SAMPLES, NUM_REQUESTS),
    )
    served = []
    for i in range(NUM_REQUESTS):
        asked = rng.permutation(NUM_EXPERTS)[: rng.integers(1, NUM_EXPERTS + 1)].tolist()
        arrived = asked[: rng.integers(0, len(asked) + 1)]
        t_done_s = float(i) if arrived and i % 7 else None
        of_asked = scores[workload.client[i], workload.sample[i], asked].tolist()
        served.append(Served(0.0, asked, of_asked, arrived, t_done_s))
    return workload, served, scores, outputs


def by_hand(case, how):
    workload, served, scores, outputs = case
    for client, sample, one in zip(workload.client, workload.sample, served, strict=True):
        if one.t_done_s is None:
            yield None
            continue
        weights = softmax(scores[client, sample, one.arrived].astype(np.float64))
        said = outputs[one.arrived, sample].astype(np.float64)
        yield int((weights[:, None] * (softmax(said) if how == "probabilities" else said)).sum(axis=0).argmax())


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_in_batches_as_one_by_one(case, how):
    workload, served, _, outputs = case
    answers = predictions(served, ExactOutputs(torch.from_numpy(outputs), workload.sample), how)
    assert answers == list(by_hand(case, how))
    assert 50 < sum(answer is None for answer in answers) < 350
    assert all(answer is None or type(answer) is int for answer in answers)


def test_the_ways_to_combine_differ(case):
    assert list(by_hand(case, "logits")) != list(by_hand(case, "probabilities"))


def test_what_was_asked_but_did_not_arrive_has_no_say(case):
    workload, served, scores, outputs = case
    cut = []
    for one, client, sample in zip(served, workload.client, workload.sample, strict=True):
        of_arrived = scores[client, sample, one.arrived].tolist()
        cut.append(Served(one.t_arrival_s, one.arrived, of_arrived, one.arrived, one.t_done_s))
    table = ExactOutputs(torch.from_numpy(outputs), workload.sample)
    assert predictions(served, table, "logits") == predictions(cut, table, "logits")


def test_no_requests():
    nothing = ExactOutputs(torch.empty(1, 1, 2), np.empty(0, np.int64))
    assert predictions([], nothing, "logits") == []
