"""Stage 1 without training: an extractor as it was drawn, and clients that have nothing in common."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from simpy.events import Event

from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.training.extraction import STAGE, Probe, keep_features, probe_accuracies
from nmoe_sim.training.federation.history import History
from nmoe_sim.training.learning import Learning, settings_of
from nmoe_sim.training.stage import Stage

if TYPE_CHECKING:
    from torch import Tensor


class Untrained(Stage):
    """The extractor as it was drawn: the server sends its weights to every client, and that is all.

    A strong baseline for what stage 1 learns: random features of images are good features.
    """

    kind: ClassVar[str] = "untrained"

    probes: tuple[Probe, ...] = ()
    """Evaluations of the features by themselves, as in the other trainings."""

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``."""
        clock = learning.clock(STAGE)
        yield clock.broadcast(learning.costs.extractor_bytes, "model_down")
        clock.history.t_version_s.append(clock.now_s)
        return clock.history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        import torch

        def probe() -> dict[str, Tensor]:
            found = probe_accuracies(learning, self.probes) if self.probes else {}
            return {metric: torch.tensor(value, dtype=torch.float64) for metric, value in found.items()}

        found = learning.store.compute(STAGE, settings_of(self), lambda _: probe())
        keep_features(learning)
        for metric, value in found.items():
            learning.record_metric(STAGE, None, history.t_version_s[-1], metric, "global", None, value.item())


class LocalOnly(Stage):
    """Everybody alone: each client trains a whole model on its own samples, from the same first weights.

    Nothing moves. The extractor is nothing, the features are the image, and a client's expert is a
    network of ``model.extractor`` and on it ``model.expert``, which stage 2 trains; its FLOP, bytes and memory are
    an expert's in the tables.
    """

    kind: ClassVar[str] = "local_only"
    goes_with: ClassVar[Mapping[str, tuple[str, ...]]] = {"experts": ("local",), "gate": ("own",)}

    def reshaped(self, model: ModelSection, scenario: Scenario) -> ModelSection:
        """See ``Stage``."""
        from nmoe_sim.nmoe.reshaped import RawImages, WholeNetwork

        shape = scenario.data.input_shape
        whole = WholeNetwork(input_shape=shape, extractor=model.extractor, expert=model.expert)
        return model.model_copy(update={"extractor": RawImages.of(shape), "expert": whole})

    def clock(self, learning: Learning) -> Generator[Event, Any, History]:
        """See ``Stage``; takes no time."""
        yield learning.simulation.env.timeout(0.0)
        return learning.clock(STAGE).history

    def values(self, learning: Learning, history: History) -> None:
        """See ``Stage``."""
        learning.store.compute(STAGE, settings_of(self), lambda _: {})
        keep_features(learning)
