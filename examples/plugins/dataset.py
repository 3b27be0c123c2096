"""A data set of one's own: here patterns with noise, drawn from the seed."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from nmoe_sim.nmoe.datasets import DatasetSpec, Images, Labels
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.quantities import NonNegative


class Patterns(DatasetSpec):
    """Four random 8×8 patterns, each seen through Gaussian noise; 400 training and 200 test images."""

    kind: ClassVar[str] = "patterns"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    num_classes: ClassVar[int] = 4
    num_train: ClassVar[int | None] = 400
    num_test: ClassVar[int | None] = 200

    noise_std: NonNegative = 0.3
    """Standard deviation of the noise on each pixel."""

    def _read(self, streams: RandomStreams) -> tuple[Images, Labels, Images, Labels]:
        rng = streams.generator("patterns")
        patterns = rng.random((self.num_classes, *self.input_shape))
        y = np.arange(600, dtype=np.int64) % self.num_classes
        x = patterns[y] + self.noise_std * rng.standard_normal((len(y), *self.input_shape))
        images = np.clip(x, 0.0, 1.0).astype(np.float32)
        return images[:400], y[:400], images[400:], y[400:]


FAMILIES = {"dataset": [Patterns]}
