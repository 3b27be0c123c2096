"""Tables of features, expert outputs and gate scores, and the accuracies that follow from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nmoe_sim.nmoe.mixture import Combine, combine, gather_experts, mixture_weights, predictions, top_k_weights
from nmoe_sim.nmoe.threads import side_by_side


def features(extractor: nn.Module, x: Tensor, batch_size: int = 128, *, workers: int = 1) -> Tensor:
    """Compute the features h_TD of all samples, in batches that don't depend on the machine.

    Parameters
    ----------
    extractor : nn.Module
        Feature extractor, or any module; run in evaluation mode and left as it is.
    x : Tensor, shape (T, ...)
        Samples.
    batch_size : int
        Samples computed at a time; of images few, so that what is between layers stays in the cache.
    workers : int
        Threads that compute batches side by side. The result is the same bits for any number.
    """
    module = copy.deepcopy(extractor).eval()

    @torch.no_grad()  # a setting of each thread
    def compute(part: Tensor) -> Tensor:
        h: Tensor = module(part)
        return h

    return torch.cat(side_by_side(compute, torch.split(x, batch_size), workers))


def expert_outputs(
    template: nn.Module, states: Sequence[Mapping[str, Tensor]], h_TD: Tensor, batch_size: int = 1024
) -> Tensor:
    """Compute the logits outputs_ETC of every expert for every sample.

    Parameters
    ----------
    template : nn.Module
        Architecture of an expert; left as it is.
    states : sequence of State
        State of each expert.
    h_TD : Tensor
        Features.
    batch_size : int
        Samples computed at a time.
    """
    module = copy.deepcopy(template)
    tables = []
    for state in states:
        module.load_state_dict(dict(state))
        tables.append(features(module, h_TD, batch_size))
    return torch.stack(tables)


def gate_scores(
    template: nn.Module, states: Sequence[Mapping[str, Tensor]], h_TD: Tensor, batch_size: int = 1024
) -> Tensor:
    """Compute scores_NTE: how every client's gate scores every expert for every sample."""
    return expert_outputs(template, states, h_TD, batch_size)


def accuracy(y_TC: Tensor, labels_T: Tensor) -> float:
    """Return the share of samples whose highest value is their label's."""
    return _share(predictions(y_TC) == labels_T)


def nmoe_accuracy(scores_TE: Tensor, outputs_ETC: Tensor, labels_T: Tensor, *, top_k: int, how: Combine) -> float:
    """Return the accuracy of the mixture of each sample's ``top_k`` experts."""
    chosen_TK, weights_TK = top_k_weights(scores_TE, top_k)
    return accuracy(combine(weights_TK, gather_experts(outputs_ETC.transpose(0, 1), chosen_TK), how), labels_T)


def all_experts_accuracy(scores_TE: Tensor, outputs_ETC: Tensor, labels_T: Tensor, *, how: Combine) -> float:
    """Return the accuracy of the mixture of all experts, weighted by softmax over all scores."""
    return accuracy(combine(mixture_weights(scores_TE), outputs_ETC.transpose(0, 1), how), labels_T)


def random_expert_accuracy(outputs_ETC: Tensor, labels_T: Tensor) -> float:
    """Return the accuracy of one expert drawn uniformly for each sample: its exact expectation."""
    return _share(predictions(outputs_ETC) == labels_T)


def best_expert_accuracy(outputs_ETC: Tensor, labels_T: Tensor) -> float:
    """Return the share of samples that any expert gets right: an oracle, a bound for choosing one."""
    return _share((predictions(outputs_ETC) == labels_T).any(dim=0))


def accuracies(
    client: int,
    scores_TE: Tensor,
    outputs_ETC: Tensor,
    labels_T: Tensor,
    *,
    top_k: int,
    how: Combine,
    peers: Sequence[int] | None = None,
) -> dict[str, float]:
    """Return all accuracies of one client, by their names in the table ``metrics``.

    Parameters
    ----------
    client : int
        The client; expert ``client`` is its own.
    scores_TE : Tensor
        Scores of the client's gate for the samples; -inf for experts that it may not ask.
    outputs_ETC : Tensor
        Logits of every expert for the samples.
    labels_T : Tensor of int64
        Labels; at least one.
    top_k : int
        Experts the mixture chooses.
    how : {"logits", "probabilities"}
        What the mixture adds up.
    peers : sequence of int, optional
        Experts that the client may ask, its own among them: a random and the best one are of these. All by default.
    """
    asked_ETC = outputs_ETC if peers is None else outputs_ETC[list(peers)]
    return {
        "accuracy_nmoe": nmoe_accuracy(scores_TE, outputs_ETC, labels_T, top_k=top_k, how=how),
        "accuracy_own_expert": accuracy(outputs_ETC[client], labels_T),
        "accuracy_all_experts": all_experts_accuracy(scores_TE, outputs_ETC, labels_T, how=how),
        "accuracy_random_expert": random_expert_accuracy(asked_ETC, labels_T),
        "accuracy_best_expert": best_expert_accuracy(asked_ETC, labels_T),
    }


def _share(correct: Tensor) -> float:
    return correct.double().mean().item()
