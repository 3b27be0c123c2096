"""What values may and may not depend on."""

import pytest
import torch

from nmoe_sim import build_scenario
from nmoe_sim.checks import check
from nmoe_sim.lifecycle import simulate
from nmoe_sim.preparation import prepare

SMALL = {
    "name": "values",
    "seed": 5,
    "data": {"kind": "digits", "max_train": 200, "max_test": 50},
    "topology": {"kind": "cell", "num_devices": 4},
    "model": {"extractor": {"kind": "mlp", "hidden": [16], "num_features": 8}},
    "training": {
        "extractor": {"kind": "fedce", "rounds": 4},
        "experts": {"kind": "local", "optimizer": {"epochs": 1}},
        "gate": {"kind": "fedgate", "rounds": 2},
    },
    "inference": {"duration_s": 0.2},
}


def learnt(folder=None, **settings):
    scenario = build_scenario(SMALL).replace({key.replace("__", "."): value for key, value in settings.items()})
    learning = prepare(scenario, layout := check(scenario), values_dir=folder, workers=1)
    simulate(learning, layout)
    return learning


@pytest.mark.parametrize(
    "extractor",
    [
        {"kind": "fedper", "selection": {"kind": "random", "share": 0.34}},
        {"kind": "fedce", "protocol": {"kind": "buffered"}, "rounds": 8},
        {"kind": "fedsc", "protocol": {"kind": "buffered"}, "rounds": 8},
    ],
    ids=lambda one: one["kind"],
)
def test_looking_at_a_model_does_not_change_it(extractor):
    often, seldom = (
        learnt(training__extractor={"rounds": 4, **extractor, "evaluate_every": every}) for every in (1, 100)
    )
    for name, tensor in often.extractor.state_dict().items():
        assert torch.equal(tensor, seldom.extractor.state_dict()[name])
    for one, other in zip(often.heads, seldom.heads, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_expert_that_was_not_finished_is_in_no_other_runs_gate(tmp_path):
    whole = learnt(tmp_path)
    stage_2 = whole.simulation.recorder.arrow("rounds").to_pandas().query("stage == 'experts'")
    start_s, end_s = stage_2["t_start_s"].min(), stage_2["t_end_s"].max()
    outage = tmp_path / "outage.csv"
    outage.write_text(f"device,t_down_s,t_up_s\ndev0,{(start_s + end_s) / 2 - 1e-9},{end_s + 0.5}\n")
    faults = {"kind": "trace", "file": str(outage)}
    shared, alone = learnt(tmp_path, faults=faults), learnt(None, faults=faults)
    assert shared.store.loaded == ["extractor", "experts"]
    for one, other in zip(shared.gates, alone.gates, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(a[n], b[n]) for a, b in zip(shared.gates, whole.gates, strict=True) for n in a)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"training.gate": {"synchronise": "none", "compression": {"kind": "quantise"}}}, "nothing to work on"),
        ({"training.extractor.selection": {"kind": "all", "share": 0.5}}, "lowest numbers"),
        ({"training.experts.optimizer.schedule": "cosine"}, "trained in none"),
        (
            {"training.extractor": {"protocol": {"kind": "gossip"}, "selection": {"kind": "channel_aware"}}},
            "way to the server",
        ),
        (
            {"training.extractor": {"protocol": {"kind": "asynchronous"}, "privacy": {"kind": "dp_fedavg"}}},
            "needs rounds with a server",
        ),
        ({"training.extractor": {"kind": "fedsc", "privacy": {"kind": "dp_fedavg"}}}, "would travel as they are"),
    ],
)
def test_settings_that_would_do_nothing_or_mislead_are_refused(settings, what):
    with pytest.raises(Exception, match=what):
        build_scenario(SMALL).replace(settings)


PLUGIN = """
from nmoe_sim.training.fedce import FedCE


class Mine(FedCE):
    kind = "mine"


FAMILIES = {"extractor_training": [Mine]}
"""


def test_values_of_a_plug_in_that_was_edited_are_not_taken(tmp_path):
    plugin, store = tmp_path / "mine.py", tmp_path / "values"

    def loaded(code):
        plugin.write_text(code)
        training = {**SMALL["training"], "extractor": {"kind": "mine", "rounds": 1}}
        scenario = build_scenario({**SMALL, "training": training}, plugins=[plugin])
        learning = prepare(scenario, layout := check(scenario), values_dir=store, workers=1)
        simulate(learning, layout)
        return learning.store.loaded

    assert loaded(PLUGIN) == []
    assert loaded(PLUGIN) == ["extractor", "experts", "gate"]
    assert loaded(PLUGIN + "# edited\n") == []
