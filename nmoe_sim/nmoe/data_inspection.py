"""Whether data, built in or a user's own, are what their families promise: a data set, who holds what, how it looks."""

from __future__ import annotations

from typing import Any

import numpy as np

from nmoe_sim.errors import InputError
from nmoe_sim.nmoe.datasets.base import Dataset
from nmoe_sim.nmoe.partition.base import Indices


def inspect_dataset(dataset: Dataset, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Refuse a data set that breaks what ``Dataset`` says.

    Parameters
    ----------
    dataset : Dataset
    input_shape : tuple of int
        Shape of an image, (C, H, W), as the data set declares it.
    num_classes : int
        Its number of classes, as it declares it.

    Raises
    ------
    InputError
        Images of another shape or type, values outside [0, 1], or labels outside 0..num_classes-1.
    """
    if dataset.num_classes != num_classes:
        raise InputError(f"the data set has {dataset.num_classes} classes and declares {num_classes}", key="data")
    for split, images, labels in (
        ("training", dataset.train_x, dataset.train_y),
        ("test", dataset.test_x, dataset.test_y),
    ):
        if why := _why_no_labels(labels, num_classes):
            raise InputError(f"the data set's {split} labels {why}", key="data")
        if why := _why_no_images(images, (len(labels), *input_shape)):
            raise InputError(f"the data set's {split} images {why}", key="data")


def inspected_parts(parts: Any, num_samples: int, num_clients: int) -> list[Indices]:
    """Return who holds which training samples; refuse what breaks ``PartitionSpec.assign``.

    Parameters
    ----------
    parts : list of array_like
        What ``assign`` returned.
    num_samples, num_clients : int
        Training samples, and clients.

    Returns
    -------
    list of ndarray of int64

    Raises
    ------
    InputError
        A client without samples, samples that there aren't, or that two clients have or one has twice.
    """

    def refuse(why: str) -> InputError:
        return InputError(
            f"{why}; 'assign' must return for each client an array of sample indices, disjoint, none empty",
            key="data.partition",
        )

    if not isinstance(parts, list | tuple | np.ndarray):
        raise refuse(f"the partition makes a {type(parts).__name__}")
    if len(parts) != num_clients:
        raise refuse(f"the partition makes {len(parts)} parts for {num_clients} clients")
    arrays = [np.asarray(part) for part in parts]
    holder = np.full(num_samples, -1)
    for client, part in enumerate(arrays):
        if not part.size:
            raise refuse(f"the partition gives client {client} no samples")
        if part.ndim != 1 or part.dtype.kind not in "iu":
            raise refuse(f"the partition gives client {client} an array of {part.dtype}, shape {part.shape}")
        if outside := np.count_nonzero((part < 0) | (part >= num_samples)):
            raise refuse(
                f"the partition gives client {client} indices outside 0..{num_samples - 1} ({outside} of them)"
            )
        if again := part.size - np.unique(part).size:
            raise refuse(f"the partition gives client {client} samples twice ({again} of them)")
        held = holder[part]
        if (shared := held[held >= 0]).size:
            raise refuse(
                f"the partition gives client {client} samples that others have ({shared.size} of them), "
                f"such as client {shared[0]}"
            )
        holder[part] = client
    return [part.astype(np.int64, copy=False) for part in arrays]


def inspect_seen(seen: Any, shape: tuple[int, ...], client: int) -> None:
    """Refuse what a feature skew makes of a client's images, if it breaks ``FeatureSkewSpec.apply``.

    Parameters
    ----------
    seen : ndarray
        What ``apply`` returned.
    shape : tuple of int
        Shape of the images that it was given, (n, C, H, W).
    client : int
        Whose they are.

    Raises
    ------
    InputError
        Another shape or type, or values outside [0, 1].
    """
    if why := _why_no_images(seen, shape):
        raise InputError(f"client {client}'s images {why}", key="data.feature_skew")


def _why_no_labels(labels: Any, num_classes: int) -> str | None:
    if not isinstance(labels, np.ndarray):
        return f"must be a NumPy array of int64, not a {type(labels).__name__}"
    if labels.ndim != 1 or labels.dtype != np.int64:
        return f"are of {labels.dtype}, shape {labels.shape}, and must be of int64, shape (n,)"
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        found = f"{wrong.size} of {labels.size} samples, such as {wrong[0]}"
        return f"are outside 0..{num_classes - 1} for {found}; number the classes from 0"
    return None


def _why_no_images(images: Any, shape: tuple[int, ...]) -> str | None:
    if not isinstance(images, np.ndarray):
        return f"must be a NumPy array of float32, not a {type(images).__name__}"
    if images.shape != shape or images.dtype != np.float32:
        return f"are of {images.dtype}, shape {images.shape}, and must be of float32, shape {shape}"
    if not images.size:
        return None
    low, high = images.min(), images.max()  # NaN, if there is one
    if low >= 0.0 and high <= 1.0:
        return None
    if not np.isfinite(images).all():
        return "have values that aren't finite; mend them"
    return f"have values from {low:.9g} to {high:.9g}, outside [0, 1]; scale or clip them"
