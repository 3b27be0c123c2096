"""Feature skew: clients see the same classes differently, each through its own fixed change of the images."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from nmoe_sim.nmoe.data_inspection import inspect_seen
from nmoe_sim.nmoe.datasets.base import Images
from nmoe_sim.nmoe.partition.base import Indices
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative
from nmoe_sim.scenario.spec import Spec

_MaxDeg = Annotated[float, Field(ge=0, le=180)]


class FeatureSkewSpec(Spec):
    """How a client's images differ from those of the data set; subclasses implement ``apply`` and ``label``.

    Which samples a client holds is the partition's business, so the two combine freely. What is changed is the data
    once, before training: a sample looks the same in every epoch.
    """

    @abstractmethod
    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """Return a client's change in a few words, None for none; arguments as for ``apply``."""

    @abstractmethod
    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """Return a client's images as the client sees them.

        Parameters
        ----------
        images : ndarray of float32, shape (n, C, H, W)
            Values in [0, 1].
        client, num_clients : int
            Whose images, from 0, of how many clients.
        streams : RandomStreams
            Source of the draws.
        split : str
            ``train`` or ``test``; names the draws.

        Returns
        -------
        ndarray of float32, shape (n, C, H, W)
            Values in [0, 1]; ``images`` itself is left as it is.
        """


class NoFeatureSkew(FeatureSkewSpec):
    """All clients see the images of the data set."""

    kind: ClassVar[str] = "none"

    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """See the base class."""
        return None

    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """Return the images."""
        return images


class Rotation(FeatureSkewSpec):
    """Client i of N = 1..N sees everything turned by its angle, the middle of the i-th of N parts of ±max_deg.

        angle_i = max_deg (2 i - 1 - N) / N

    Positive is anticlockwise. Pixels between the old ones are bilinear, those from outside are 0. Evenly spread angles
    are our choice; they need no draw, and any number of clients spans the range.
    """

    kind: ClassVar[str] = "rotation"

    max_deg: _MaxDeg = 45.0
    """End of the range of angles, either way, in degrees."""

    def angle_deg(self, client: int, num_clients: int) -> float:
        """Return the angle of a client, counted from 0, in degrees."""
        return self.max_deg * (2 * client + 1 - num_clients) / num_clients

    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """See the base class."""
        return f"{self.angle_deg(client, num_clients):+.3g}°"

    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """Turn the images; nothing is drawn."""
        import torch
        from torch.nn.functional import affine_grid, grid_sample

        if not len(images):
            return images
        n, num_channels, height, width = images.shape
        angle = math.radians(self.angle_deg(client, num_clients))
        cos, sin = math.cos(angle), math.sin(angle)
        # where each new pixel comes from, in coordinates that run from -1 to 1 along either side
        theta = torch.tensor([[[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]])
        planes = torch.from_numpy(images).reshape(1, n * num_channels, height, width)
        grid = affine_grid(theta, [1, 1, height, width], align_corners=False)
        turned = grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        seen: Images = turned.reshape(images.shape).clamp(0.0, 1.0).numpy()  # weights may add up to a bit more than 1
        return seen


class Noise(FeatureSkewSpec):
    """Client i of N = 1..N sees everything through Gaussian noise of its own strength, cut to [0, 1].

        std_i = max_std i / N

    As the noise-based feature skew of Q. Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study",
    ICDE 2022. There σ i / N is a variance in the text and a standard deviation in the published code, which counts
    from a client without noise, draws anew each time a sample is read and cuts nothing. That the first client has
    max_std / N, that a sample keeps its noise, and the cut are our choice.
    """

    kind: ClassVar[str] = "noise"

    max_std: NonNegative = 0.3
    """Standard deviation for the last client, in units of the pixels' range."""

    def std(self, client: int, num_clients: int) -> float:
        """Return the standard deviation for a client, counted from 0."""
        return self.max_std * (client + 1) / num_clients

    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """See the base class."""
        return f"noise {self.std(client, num_clients):.2g}"

    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """Add noise to the images."""
        rng = streams.generator(f"feature_noise_{split}", client)
        noise = rng.standard_normal(images.shape, dtype=np.float32)
        seen: Images = images + np.float32(self.std(client, num_clients)) * noise
        return seen.clip(0.0, 1.0)


class Combined(FeatureSkewSpec):
    """First ``rotation``, then ``noise``: the last client is turned furthest and sees worst."""

    kind: ClassVar[str] = "combined"

    max_deg: _MaxDeg = 45.0
    """End of the range of angles, either way, in degrees."""
    max_std: NonNegative = 0.3
    """Standard deviation of the noise for the last client, in units of the pixels' range."""

    def label(self, *, client: int, num_clients: int, streams: RandomStreams) -> str | None:
        """See the base class."""
        return ", ".join(
            part.label(client=client, num_clients=num_clients, streams=streams) or "" for part in self._parts()
        )

    def apply(self, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str) -> Images:
        """Turn the images, then add noise."""
        for part in self._parts():
            images = part.apply(images, client=client, num_clients=num_clients, streams=streams, split=split)
        return images

    def _parts(self) -> tuple[FeatureSkewSpec, FeatureSkewSpec]:
        return Rotation(max_deg=self.max_deg), Noise(max_std=self.max_std)


def seen_by(
    skew: FeatureSkewSpec, images: Images, *, client: int, num_clients: int, streams: RandomStreams, split: str
) -> Images:
    """Return ``skew.apply`` of these, and refuse what it mustn't return.

    Raises
    ------
    InputError
        Another shape or type, or values outside [0, 1].
    """
    seen = skew.apply(images, client=client, num_clients=num_clients, streams=streams, split=split)
    inspect_seen(seen, images.shape, client)
    return seen


def skewed_test_set(
    skew: FeatureSkewSpec, test_x: Images, test_parts: Sequence[Indices], streams: RandomStreams
) -> Images:
    """Return the common test set with each sample as the client sees it whose local test set it is in.

    So a client's local test set looks like its training data, and the global one is a mixture over all clients'
    views. Samples in nobody's local test set, of classes that nobody holds, stay as they are.

    Parameters
    ----------
    skew : FeatureSkewSpec
    test_x : ndarray of float32, shape (T, C, H, W)
        Common test set.
    test_parts : sequence of ndarray of int64
        Its rows that are each client's; disjoint.
    streams : RandomStreams

    Returns
    -------
    ndarray of float32, shape (T, C, H, W)
    """
    seen = test_x.copy()
    for client, rows in enumerate(test_parts):
        seen[rows] = seen_by(
            skew, test_x[rows], client=client, num_clients=len(test_parts), streams=streams, split="test"
        )
    return seen
