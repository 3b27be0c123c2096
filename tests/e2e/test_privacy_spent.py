"""What privacy costs is in the tables."""

from types import SimpleNamespace

import pytest

from nmoe_sim import build_scenario, run
from nmoe_sim.nmoe.accounting import gaussian_epsilon
from nmoe_sim.nmoe.privacy import DpFedAvg, matrix_epsilon
from nmoe_sim.training.federation.history import Arrival, History, Step, Work

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


@pytest.mark.parametrize(("selection", "rate"), [("poisson", 0.5), ("random", 1.0)])
def test_epsilon_of_updates_counts_sampling_where_each_client_is_drawn_by_itself(selection, rate, tmp_path):
    settings = {"clip_norm": 0.5, "noise_multiplier": 2.0, "delta": 1e-4}
    extractor = {"kind": "fedce", "selection": {"kind": selection, "share": 0.5}}
    found = spent({**extractor, "privacy": {"kind": "dp_fedavg", **settings}}, "epsilon", tmp_path)
    assert found == pytest.approx([gaussian_epsilon(2.0, 1e-4, number, rate) for number in (1, 2, 3)])


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


def test_epsilon_of_matrices_counts_a_matrix_a_round(tmp_path):
    extractor = {"kind": "fedsc", "correlation_noise_std": 0.5, "mu": 2.0}
    found = spent(extractor, "epsilon_correlation", tmp_path)
    # 200 samples, four clients
    assert found == pytest.approx([matrix_epsilon(0.5, 2.0, 50, number, 1e-5) for number in (1, 2, 3)])


def test_epsilon_of_matrices_that_travel_with_updates_counts_those_sent():
    """Also those that don't count: client 1 has begun twice from the first version, client 0 three times in all."""
    training = {**SMALL["training"], "extractor": {"kind": "fedsc", "correlation_noise_std": 0.5, "mu": 2.0}}
    stage = build_scenario({**SMALL, "training": training}).training.extractor
    works = [Work(0, 0, 0), Work(1, 0, 0), Work(1, 1, 0), Work(0, 1, 1), Work(0, 2, 2)]
    history = History(works, [Step("add", (Arrival(0),)), Step("add", (Arrival(1),)), Step("add", (Arrival(3),))])
    learning = SimpleNamespace(data=SimpleNamespace(num_train=[50, 50]), clients=["dev0", "dev1"])
    for version, most in enumerate((2, 2, 3)):
        [epsilon] = stage.privacy_spent(learning, history, version).values()
        assert epsilon == pytest.approx(matrix_epsilon(0.5, 2.0, 50, most, 1e-5))
