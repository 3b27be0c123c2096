from __future__ import annotations

import pickle

import pytest
from scenario_families import FAMILIES, Blobs, Cell, Dirichlet, Iid, LogDistance, Phone, Server, Star, Umi

from nmoe_sim.errors import InputError
from nmoe_sim.scenario import Override, Scenario, build, load

FULL = """\
name: full
seed: 3
data:
  kind: blobs
  num_classes: 4
  size_bytes: 8e3
  weights: {b: 1, a: 2}
topology: {kind: star, num_devices: 4}
radio:
  bandwidth_hz: 10e6
  path_loss: {kind: log_distance, exponent: 2}
devices:
  - {profile: phone, count: 3, battery_j: 5e4}
  - {profile: server}
device: cpu
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write


def loaded(path: str = "x.yaml", *options: str) -> Scenario:
    return load(path, families=FAMILIES, overrides=[Override.from_option(option) for option in options])


def message(*args: str) -> str:
    with pytest.raises(InputError) as caught:
        loaded(*args)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_resolved_round_trips_through_yaml(folder):
    folder(x=FULL)
    scenario = loaded()
    folder(again=scenario.to_yaml())
    again = loaded("again.yaml")
    assert again == scenario
    assert again.to_yaml() == scenario.to_yaml()
    assert again.run_id == scenario.run_id
    assert build(scenario.resolved(), families=FAMILIES) == scenario


def test_resolved_has_declared_order_kinds_first_and_lists(folder):
    folder(x=FULL)
    plain = loaded().resolved()
    assert list(plain) == list(Scenario.model_fields)
    assert list(plain["data"]) == ["kind", *Blobs.model_fields]
    assert next(iter(plain["devices"][0])) == "profile"
    assert plain["devices"][1] == {"profile": "server", **Server().model_dump(), "dvfs": {"kind": "none"}}
    assert plain["model"]["gate"] == {"kind": "mlp", "widths": [64]}
    assert "kind" not in plain["radio"]


def test_equality_hash_and_pickle_ignore_where_it_was_written(folder):
    folder(x=FULL, y="# moved\n" + FULL)
    one, other = loaded("x.yaml"), loaded("y.yaml")
    assert one.where("seed") != other.where("seed")
    assert one == other
    assert hash(one) == hash(other)
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.where("seed") == "x.yaml:2:7"
    assert copy.replace({"seed": 4}).seed == 4
    assert one != one.replace({"seed": 4})


def test_hash_leaves_out_seed_and_machine_but_nothing_else(folder):
    folder(x="name: a\n")
    base = loaded()
    assert len(base.scenario_hash) == 64
    assert base.run_id == f"{base.scenario_hash[:12]}-s0"
    seeded = base.replace({"seed": 7})
    assert seeded.scenario_hash == base.scenario_hash
    assert seeded.run_id == f"{base.scenario_hash[:12]}-s7"
    assert base.replace({"device": "cuda"}).scenario_hash == base.scenario_hash
    assert base.replace({"data.folder": "/somewhere"}).scenario_hash == base.scenario_hash
    assert base.replace({"radio.bandwidth_hz": 20_000_000}).scenario_hash == base.scenario_hash
    assert base.replace({"radio.bandwidth_hz": 21e6}).scenario_hash != base.scenario_hash
    assert base.replace({"radio.path_loss.kind": "log_distance"}).scenario_hash != base.scenario_hash


def test_where_names_a_setting_or_the_nearest_around_it(folder):
    folder(x=FULL)
    scenario = loaded("x.yaml", "model.top_k=9")
    assert scenario.where("radio.path_loss.exponent") == "x.yaml:11:45"
    assert scenario.where("devices.1.count") == "x.yaml:14:5"
    assert scenario.where("inference.duration_s") == "x.yaml:1:1"
    assert scenario.where("model.top_k") == "--set model.top_k=9"
    assert str(scenario.error("too many", "model.top_k")) == "--set model.top_k=9: too many"
    assert str(scenario.error("too many", "topology.num_devices")) == ("x.yaml:8:37: topology.num_devices: too many")


# --- extends ---------------------------------------------------------------------------------------


def test_a_child_holds_only_what_differs(folder):
    folder(
        sub__base="name: base\nradio: {bandwidth_hz: 1e6, carrier_hz: 2e9}\ntopology: {num_devices: 7}\n"
        "devices: [{profile: phone, count: 7}]\n",
        sub__middle="extends: base.yaml\nradio: {carrier_hz: 3e9}\n",
        x="extends: sub/middle.yaml\nname: child\ndevices: [{profile: server}]\n",
    )
    scenario = loaded()
    assert scenario.name == "child"
    assert (scenario.radio.bandwidth_hz, scenario.radio.carrier_hz) == (1e6, 3e9)
    assert scenario.topology == Cell(num_devices=7)
    assert scenario.devices == (Server(),)
    assert scenario.where("radio.bandwidth_hz") == "sub/base.yaml:2:23"
    assert scenario.where("radio.carrier_hz") == "sub/middle.yaml:2:21"


def test_a_changed_kind_keeps_what_it_has_and_drops_the_rest(folder):
    folder(
        base="name: base\ntopology: {radius_m: 5, num_devices: 7}\n"
        "data: {kind: blobs, num_classes: 3, partition: {alpha: 0.1}}\n",
        x="extends: base.yaml\ntopology: {kind: star}\n",
        data="extends: base.yaml\ndata: {kind: digits}\n",
        same="extends: base.yaml\ntopology: {kind: cell}\ndata: {partition: {kind: iid}}\n",
        typo="extends: base.yaml\ntopology: {kind: star, radius_m: 6}\n",
    )
    assert loaded().topology == Star(num_devices=7)
    assert loaded("same.yaml").topology == Cell(num_devices=7, radius_m=5)
    assert loaded("same.yaml").data == Blobs(num_classes=3, partition=Iid())
    assert message("typo.yaml").startswith("typo.yaml:2:24: topology.radius_m: unknown key; kind 'cell'")
    # A partition's alpha goes along with the data set, whose default partition has none.
    assert message("data.yaml").startswith("base.yaml:3:49: data.partition.alpha: unknown key")


def test_missing_settings_of_a_merged_mapping_point_at_the_child(folder):
    folder(base="name: a\ndata: {partition: {kind: iid}}\n", x="extends: base.yaml\ndata: {kind: blobs}\n")
    assert message().startswith("x.yaml:2:7: data.num_classes: missing")


def test_extends_that_lead_nowhere(folder):
    folder(
        x="name: a\nextends: none.yaml\n",
        a="extends: b.yaml\n",
        b="extends: ./a.yaml\n",
        self="extends: self.yaml\n",
        number="extends: 3\n",
        broken="extends: bad.yaml\n",
        bad="a: [\n",
        **{f"c{i}": f"extends: c{i + 1}.yaml\n" for i in range(30)},
    )
    assert message() == "x.yaml:2:10: extends: cannot read 'none.yaml': no such file"
    assert message("a.yaml") == "b.yaml:1:10: extends: './a.yaml' extends this file in turn"
    assert message("self.yaml") == "self.yaml:1:10: extends: 'self.yaml' extends this file in turn"
    assert message("number.yaml") == "number.yaml:1:10: extends: must name one file, got 3"
    assert message("broken.yaml").startswith("bad.yaml:2:1: not valid YAML")
    assert message("c0.yaml") == "c20.yaml:1:10: extends: more than 20 files extend one another"


# --- --set -----------------------------------------------------------------------------------------


def test_set_reaches_everything(folder):
    folder(x=FULL)
    scenario = loaded(
        "x.yaml",
        "radio.bandwidth_hz=40e6",
        "devices.0.count=2",
        "devices.1={profile: server, num_racks: 2}",
        "topology.kind=cell",
        "topology.area_m=[3, 4]",
        "inference.arrivals.rate_hz=5",
        "description=yes",
        "seed=5",
        "seed=6",
    )
    assert scenario.radio.bandwidth_hz == 40e6
    assert scenario.devices == (Phone(count=2, battery_j=5e4), Server(num_racks=2))
    assert scenario.topology == Cell(num_devices=4, area_m=(3, 4))
    assert scenario.inference.arrivals.rate_hz == 5
    assert scenario.description == "yes"
    assert scenario.seed == 6


def test_set_changes_the_profile_of_a_group(folder):
    folder(x="name: a\ndevices: [{profile: server, count: 2, num_racks: 3}]\n")
    assert loaded("x.yaml", "devices.0.profile=phone").devices == (Phone(count=2),)


WRONG_OPTIONS = {
    "radio.bandwidth_hz=-1": "--set radio.bandwidth_hz=-1: must be greater than 0, got -1",
    "radio.bandwith_hz=1": "--set radio.bandwith_hz=1: unknown key; did you mean 'bandwidth_hz'?",
    "radoi.bandwidth_hz=1": "--set radoi.bandwidth_hz=1: radoi: unknown key; did you mean 'radio'?",
    "radio={bandwidth_hz: -1}": ("--set radio={bandwidth_hz: -1}: radio.bandwidth_hz: must be greater than 0, got -1"),
    "radio.bandwidth_hz.x=1": ("--set radio.bandwidth_hz.x=1: radio.bandwidth_hz: must be a number, got a mapping"),
    "topology=cell": "--set topology=cell: must be a mapping, got 'cell'; write {kind: cell}",
    "devices.9.count=1": ("--set devices.9.count=1: devices.9: no item 9 in the list; it has 2, counted from 0"),
    "devices.x.count=1": ("--set devices.x.count=1: devices.x: no item x in the list; it has 2, counted from 0"),
    "seed=[1": "--set seed=[1: not valid YAML: while parsing a flow sequence, expected ',' or ']', "
    "but got '<stream end>'",
    "seed=": "--set seed=: must be a whole number, got null",
    "seed": "--set seed: must read KEY=VALUE, such as --set radio.bandwidth_hz=40e6",
    "=3": "--set =3: must read KEY=VALUE, such as --set radio.bandwidth_hz=40e6",
    "name=a\nb": "--set name=a b: must match ",
    "a" + ".a" * 3000 + "=1": "nested deeper than 50 levels",
}


@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_wrong_options_name_themselves(option, folder):
    folder(x=FULL)
    said = message("x.yaml", option)
    assert WRONG_OPTIONS[option] in said
    assert said.startswith("--set ")


def test_set_into_a_list_the_file_lacks(folder):
    folder(x="name: a\n")
    assert message("x.yaml", "devices.0.count=1").endswith("no item 0 in the list; the list is empty")


def test_an_option_of_another_name_labels_its_errors(folder):
    folder(x="name: a\n")
    with pytest.raises(InputError) as caught:
        load("x.yaml", families=FAMILIES, overrides=[Override("seed", "-1", "--seed -1")])
    assert str(caught.value) == "--seed -1: must be at least 0, got -1"


# --- replace ---------------------------------------------------------------------------------------


def test_replace_merges_like_a_file_that_extends(folder):
    folder(x=FULL)
    base = loaded()
    varied = base.replace(
        {
            "radio.bandwidth_hz": 40e6,
            "radio": {"path_loss": {"reference_db": 30.0}},
            "topology": Cell(num_devices=9),
            "devices.1.num_racks": 4,
            "data": {"partition": {"alpha": 0.1}},
        }
    )
    assert varied.radio.bandwidth_hz == 40e6
    assert varied.radio.path_loss == LogDistance(exponent=2, reference_db=30)
    assert varied.topology == Cell(num_devices=9)
    assert varied.devices == (base.devices[0], Server(num_racks=4))
    assert varied.data.partition == Dirichlet(alpha=0.1)
    assert varied.where("seed") == "x.yaml:2:7"
    assert varied.where("radio.bandwidth_hz") is None
    assert base == loaded()


def test_replace_changes_kinds_and_ready_made_specs():
    base = build({"name": "a", "topology": Cell(num_devices=4, radius_m=2)}, families=FAMILIES)
    assert base.replace({"topology.kind": "star"}).topology == Star(num_devices=4)
    assert base.replace({"topology.num_devices": 5}).topology == Cell(num_devices=5, radius_m=2)
    # What the old kind left to its default isn't carried over: Cell's 10 devices don't become Star's.
    plain = build({"name": "a"}, families=FAMILIES)
    assert plain.replace({"topology.kind": "star"}).topology == Star()
    assert plain.replace({"radio.path_loss": LogDistance()}).replace({"radio.path_loss.kind": "tr38901_umi"}) == plain
    assert plain.radio.path_loss == Umi()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"radio.bandwith_hz": 1}, "radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?"),
        ({"radio.bandwidth_hz": -1.0}, "radio.bandwidth_hz: must be greater than 0, got -1.0"),
        ({"topology.kind": "ring"}, "topology.kind: unknown kind 'ring'; one of cell, star"),
        ({"devices.0.count": 1}, "devices.0: no item 0 in the list; the list is empty"),
        ({"topology": Umi()}, "topology: must be in the family 'topology', got Umi"),
    ],
)
def test_replace_checks_everything_again(changes, said):
    base = build({"name": "a"}, families=FAMILIES)
    with pytest.raises(InputError) as caught:
        base.replace(changes)
    assert str(caught.value) == said


def test_replace_needs_the_families_of_a_loader():
    made = build({"name": "a"}, families=FAMILIES)
    bare = Scenario(**{name: getattr(made, name) for name in Scenario.model_fields})
    assert bare == made
    with pytest.raises(InputError, match="made by load_scenario or build_scenario"):
        bare.replace({"seed": 1})
