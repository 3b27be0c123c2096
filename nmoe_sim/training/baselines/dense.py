"""One dense model of equal total size, trained by federated averaging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from nmoe_sim.scenario.scenario import ModelSection, Scenario
from nmoe_sim.training.fedce import FedCE


class Dense(FedCE):
    """FedAvg on the extractor and one dense head with as many parameters as the N experts have together.

    The head is a perceptron of as many hidden layers as an expert has (one, if it has none, or isn't a
    perceptron), all widths an expert's times one factor; ``nmoe_sim.nmoe.reshaped.dense_expert`` finds the one that
    comes nearest. ``nmoe-sim check --cost`` tells the bytes it has, as those of an expert. Every client ends
    with the same model (under gossip with the mean extractor and a head of its own), answers its own requests by it,
    and sends nothing. It holds and computes the whole head
    for every sample, where a client of a mixture holds one expert and asks for ``model.top_k``.
    """

    kind: ClassVar[str] = "dense"
    title: ClassVar[str] = "FedAvg, dense model"
    goes_with: ClassVar[Mapping[str, tuple[str, ...]]] = {"experts": ("head",), "gate": ("own",)}

    head: Literal["expert"] = "expert"
    """The head is the dense one."""

    def reshaped(self, model: ModelSection, scenario: Scenario) -> ModelSection:
        """See ``Stage``: the expert becomes the dense head."""
        from nmoe_sim.nmoe.reshaped import dense_expert

        num_experts, num_features = scenario.topology.num_devices, model.extractor.num_features
        return model.model_copy(
            update={"expert": dense_expert(model.expert, num_experts, num_features, scenario.data.num_classes)}
        )
