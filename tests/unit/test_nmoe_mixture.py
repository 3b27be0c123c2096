import math

import pytest
import torch

from nmoe_sim.nmoe import evaluate
from nmoe_sim.nmoe.mixture import combine, mixture_weights, predictions, select_top_k, top_k_weights

# 3 experts, 4 samples, 2 classes; expert e is right on samples where RIGHT[e] is 1
LABELS = torch.tensor([0, 0, 1, 1])
RIGHT = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]], dtype=torch.bool)
OUTPUTS = torch.zeros(3, 4, 2).scatter_(2, torch.where(RIGHT, LABELS, 1 - LABELS).unsqueeze(-1), 2.0)


def test_top_k_is_best_first_and_ties_go_to_the_lowest_index():
    scores = torch.tensor([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert select_top_k(scores, 3).tolist() == [[1, 2, 3], [0, 1, 2]]
    assert select_top_k(torch.zeros(1, 5000), 40).tolist() == [list(range(40))]


@pytest.mark.parametrize("top_k", [0, 5])
def test_top_k_outside_the_experts_is_refused(top_k):
    with pytest.raises(ValueError, match="from 1 to the number of experts, 4"):
        select_top_k(torch.zeros(2, 4), top_k)


def test_unavailable_experts_are_not_chosen_or_weigh_nothing():
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    chosen, weights = top_k_weights(scores, 2, torch.tensor([True, False, True]))
    assert chosen.tolist() == [[2, 0]]
    torch.testing.assert_close(weights, torch.tensor([[math.e, 1.0]]) / (math.e + 1))
    chosen, weights = top_k_weights(scores, 2, torch.tensor([True, False, False]))
    assert chosen[0, 0] == 0
    assert weights.tolist() == [[1.0, 0.0]]


def test_weights_are_renormalised_over_what_arrived():
    scores = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    weights = mixture_weights(scores, torch.tensor([[True, False, True], [False, False, False]]))
    full = scores[0].softmax(0)
    torch.testing.assert_close(weights[0], torch.tensor([full[0], 0.0, full[2]]) / (full[0] + full[2]))
    assert weights[1].tolist() == [0.0, 0.0, 0.0]


def test_combination_adds_logits_or_probabilities():
    weights = torch.tensor([[0.25, 0.75]])
    outputs = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    assert combine(weights, outputs, "logits").tolist() == [[0.5, 0.75]]
    p = 0.25 / (1 + math.exp(-2)) + 0.75 / (1 + math.e)
    torch.testing.assert_close(combine(weights, outputs, "probabilities"), torch.tensor([[p, 1 - p]]))


def test_predictions_take_the_lowest_class_of_a_tie():
    assert predictions(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).tolist() == [0, 1]


def test_accuracies_of_a_hand_made_table():
    # the gate sends samples 0, 1 to expert 0 and 2, 3 to expert 1
    scores = torch.tensor([[9.0, 0, 1], [9, 0, 1], [0, 9, 1], [0, 9, 1]])
    got = evaluate.accuracies(2, scores, OUTPUTS, LABELS, top_k=1, how="probabilities")
    assert got == {
        "accuracy_nmoe": 1.0,
        "accuracy_own_expert": 0.5,
        "accuracy_all_experts": 1.0,
        "accuracy_random_expert": 0.5,
        "accuracy_best_expert": 1.0,
    }


def test_the_mixture_of_all_with_equal_scores_is_a_vote():
    equal = torch.zeros(4, 3)
    # right votes of three: 2, 1, 2, 1
    assert evaluate.all_experts_accuracy(equal, OUTPUTS, LABELS, how="logits") == 0.5
    assert evaluate.nmoe_accuracy(equal, OUTPUTS, LABELS, top_k=3, how="logits") == 0.5
    assert evaluate.nmoe_accuracy(equal, OUTPUTS, LABELS, top_k=1, how="logits") == 0.5


def test_best_expert_needs_one_that_is_right():
    assert evaluate.best_expert_accuracy(OUTPUTS[:1], LABELS) == 0.5
    assert evaluate.random_expert_accuracy(OUTPUTS[:1], LABELS) == 0.5


def test_tables_do_not_depend_on_the_batch_and_leave_the_module_alone():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5))
    x = torch.rand(10, 4)
    whole, parts = evaluate.features(module, x), evaluate.features(module, x, batch_size=3)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole, module[0](x).detach())
    assert module.training
    states = [{name: tensor * s for name, tensor in module.state_dict().items()} for s in (1, 2)]
    outputs = evaluate.expert_outputs(module, states, x)
    torch.testing.assert_close(outputs, torch.stack([whole, 2 * whole]))
    assert torch.equal(evaluate.gate_scores(module, states, x), outputs)
