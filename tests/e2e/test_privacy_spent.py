"""What privacy costs is in the tables."""

import pytest

from nmoe_sim import build_scenario, run
from nmoe_sim.nmoe.accounting import gaussian_epsilon
from nmoe_sim.nmoe.privacy import DpFedAvg, matrix_epsilon

SMALL = {
    "name": "private",
    "seed": 2,
    "data": {"kind": "digits", "max_train": 200, "max_test": 50, "partition": {"kind": "iid"}},
    "topology": {"kind": "cell", "num_devices": 4},
    "model": {"extractor": {"kind": "mlp", "hidden": [16], "num_features": 8}},
    "training": {"experts": {"kind": "local", "optimizer": {"epochs": 1}}, "gate": {"kind": "fedgate", "rounds": 1}},
    "inference": {"duration_s": 0.2},
}


def spent(extractor, metric, tmp_path):
    training = {**SMALL["training"], "extractor": {"evaluate_every": 1, "rounds": 3, **extractor}}
    metrics = run(build_scenario({**SMALL, "training": training}), tmp_path).tables["metrics"]
    return metrics[metrics["metric"] == metric].sort_values("round")["value"].tolist()


def test_epsilon_of_updates_is_composed_over_the_rounds(tmp_path):
    settings = {"clip_norm": 0.5, "noise_multiplier": 2.0, "delta": 1e-4}
    found = spent({"kind": "fedce", "privacy": {"kind": "dp_fedavg", **settings}}, "epsilon", tmp_path)
    assert found == pytest.approx([DpFedAvg(**settings).epsilon(number, 1.0) for number in (1, 2, 3)])
    assert found[0] < found[1] < found[2]


def test_epsilon_of_fedsc_is_that_of_a_clients_matrices_and_updates(tmp_path):
    """Others' updates depend on its matrix: in a round multipliers z and σ/μ count as one, 1/√(1/z² + μ²/σ²)."""
    extractor = {"kind": "fedsc", "correlation_noise_std": 3.0, "mu": 2.0}
    settings = {"clip_norm": 0.5, "noise_multiplier": 2.0, "delta": 1e-4}
    both = (1 / 2.0**2 + (2.0 / 3.0) ** 2) ** -0.5
    found = spent({**extractor, "privacy": {"kind": "dp_fedavg", **settings}}, "epsilon", tmp_path / "all")
    assert found == pytest.approx([gaussian_epsilon(both, 1e-4, number) for number in (1, 2, 3)])
    # whom sampling takes is seen by its matrix
    poisson = {"selection": {"kind": "poisson", "share": 0.5}}
    sampled = spent(
        {**extractor, **poisson, "privacy": {"kind": "dp_fedavg", **settings}}, "epsilon", tmp_path / "some"
    )
    assert sampled == pytest.approx(found)


@pytest.mark.parametrize("protocol", ["synchronous", "buffered"])
def test_epsilon_of_matrices_counts_those_sent(protocol, tmp_path):
    extractor = {"kind": "fedsc", "correlation_noise_std": 0.5, "mu": 2.0, "protocol": {"kind": protocol}}
    found = spent(extractor, "epsilon_correlation", tmp_path)
    assert found == sorted(found)
    assert len(found) == 3
    if protocol == "synchronous":  # 200 samples, four clients, a matrix a round
        assert found == pytest.approx([matrix_epsilon(0.5, 2.0, 50, number, 1e-5) for number in (1, 2, 3)])
