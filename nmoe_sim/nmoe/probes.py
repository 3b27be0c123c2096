"""How much of the labels frozen features hold: nearest neighbours and a linear classifier on them.

Both see the features of pooled training samples with their labels, and answer for the test set.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nmoe_sim.nmoe.evaluate import accuracy
from nmoe_sim.nmoe.threads import one_thread

_CHUNK_VALUES = 2**24
"""Similarities in memory at a time: 64 MiB of float32."""
_TOLERANCE = 1e-6
"""Largest entry of the gradient of a linear probe that counts as trained."""


@one_thread()
@torch.no_grad()
def knn_accuracy(
    train_h: Tensor,
    train_y: Tensor,
    test_h: Tensor,
    test_y: Tensor,
    num_classes: int,
    k: int = 200,
    temperature: float = 0.1,
) -> float:
    """Return the accuracy of a vote of the nearest training samples (Wu et al., CVPR 2018).

    Of the k samples of the highest cosine similarity s, each votes for its class with weight exp(s/temperature).
    Ties of votes go to the lowest class.

    Parameters
    ----------
    train_h : Tensor, shape (T, D)
        Features of training samples, at least one.
    train_y : Tensor of int64, shape (T,)
        Their labels.
    test_h, test_y : Tensor
        The same of test samples, at least one.
    num_classes : int
    k : int
        Neighbours; all training samples where there are fewer.
    temperature : float
        The lower, the more the nearest count; 0.1 as in FedSC's evaluation (Wu et al. have 0.07).
    """
    units_DT = functional.normalize(train_h, dim=1).T
    chunk = max(1, _CHUNK_VALUES // len(train_h))
    votes = []
    for part_BD in torch.split(functional.normalize(test_h, dim=1), chunk):
        similarity_BK, neighbours_BK = (part_BD @ units_DT).topk(min(k, len(train_h)), dim=1)
        # relative to the nearest: the same vote, and no overflow
        weights_BK = ((similarity_BK - similarity_BK[:, :1]) / temperature).exp()
        votes_BC = weights_BK.new_zeros(len(part_BD), num_classes)
        votes.append(votes_BC.scatter_add_(1, train_y[neighbours_BK], weights_BK))
    return accuracy(torch.cat(votes), test_y)


@one_thread()
def linear_probe_accuracy(
    train_h: Tensor,
    train_y: Tensor,
    test_h: Tensor,
    test_y: Tensor,
    num_classes: int,
    l2: float = 1e-3,
    max_iterations: int = 500,
) -> float:
    """Return the accuracy of a linear classifier trained on frozen features: multinomial logistic regression.

    Features are standardised with the training samples' mean and standard deviation. Minimised is the mean
    cross-entropy + l2/2·‖W‖², the bias b left free, by L-BFGS on all samples in float64 from W = b = 0. That is
    strictly convex in W: the result depends on no draw, no order and no learning rate.

    Parameters
    ----------
    train_h, train_y, test_h, test_y, num_classes
        As of ``knn_accuracy``.
    l2 : float
        Regularisation, above 0. Of T samples it is that of C = 1/(l2·T) in scikit-learn.
    max_iterations : int
        Most iterations; it ends before where no entry of the gradient is above 1e-6.
    """
    weight_CD, bias_C = fit_linear_probe(train_h, train_y, num_classes, l2, max_iterations)
    return accuracy(_standardised(train_h, test_h) @ weight_CD.T + bias_C, test_y)


def fit_linear_probe(
    train_h: Tensor, train_y: Tensor, num_classes: int, l2: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Train the classifier of ``linear_probe_accuracy``; returns weights and biases for standardised features."""
    x_TD = _standardised(train_h, train_h)
    weight_CD = x_TD.new_zeros(num_classes, x_TD.shape[1], requires_grad=True)
    bias_C = x_TD.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight_CD, bias_C],
        max_iter=max_iterations,
        max_eval=2 * max_iterations,
        tolerance_grad=_TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        optimizer.zero_grad()
        entropy = functional.cross_entropy(functional.linear(x_TD, weight_CD, bias_C), train_y)
        value = entropy + 0.5 * l2 * weight_CD.square().sum()
        torch.autograd.backward(value)
        return value.item()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight_CD.detach(), bias_C.detach()


def _standardised(train_h: Tensor, h: Tensor) -> Tensor:
    """Return features in float64, with mean 0 and variance 1 over the training samples; constant ones as zeros."""
    train = train_h.double()
    std = train.std(dim=0, correction=0)
    return (h.double() - train.mean(dim=0)) / torch.where(std > 0, std, 1.0)
