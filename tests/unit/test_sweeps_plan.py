"""What a sweep file plans: which runs, in which order, what they share, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmoe_sim.errors import InputError
from nmoe_sim.shipped import shipped, shipped_sweeps
from nmoe_sim.sweeps import load_sweep, make_plan
from nmoe_sim.sweeps.derived import parse_expression
from nmoe_sim.sweeps.plan import Plan


@pytest.fixture
def plan_of(tiny: Path):
    def make(text: str) -> Plan:
        Path("s.yaml").write_text(f"name: s\nbase: tiny.yaml\n{text}")
        return make_plan(load_sweep("s.yaml"))

    return make


def test_product_of_grid_zip_list_and_seeds_in_this_order(plan_of):
    plan = plan_of(
        "seeds: [8, 5]\n"
        "list: [{model.top_k: 1}, {}]\n"
        "zip: {radio.bandwidth_hz: [1e6, 2e6], radio.tx_power_dbm: [10, 20]}\n"
        "grid: {placement.kind: [home, greedy]}\n"
    )
    rows = [(*run.settings.values(), run.scenario.seed) for run in plan.runs]
    assert [*plan.columns] == ["placement.kind", "radio.bandwidth_hz", "radio.tx_power_dbm", "model.top_k"]
    expected = [
        (placement, bandwidth_hz, power_dbm, top_k, seed)
        for placement in ("home", "greedy")
        for bandwidth_hz, power_dbm in ((1e6, 10.0), (2e6, 20.0))
        for top_k in (1, 2)  # a row of the list that doesn't set it has the base's
        for seed in (8, 5)
    ]
    assert rows == expected
    assert dict(plan.columns) == {
        "placement.kind": "string",
        "radio.bandwidth_hz": "float64",
        "radio.tx_power_dbm": "float64",
        "model.top_k": "int64",
    }


def test_a_number_of_seeds_counts_up_from_the_bases(plan_of):
    assert [run.scenario.seed for run in plan_of("seeds: 3\n").runs] == [3, 4, 5]
    assert [run.scenario.seed for run in plan_of("").runs] == [3]


def test_settings_that_are_mappings_or_missing(plan_of):
    plan = plan_of("list: [{placement: {kind: milp, time_limit_s: 5.0}}, {data.partition: {kind: iid}}]\n")
    assert plan.runs[0].settings["placement"] == '{"kind": "milp", "time_limit_s": 5.0}'
    plan = plan_of("list: [{data.partition: {kind: dirichlet, alpha: 9.0}}, {data.partition.kind: shards}]\n")
    assert [run.settings["data.partition.kind"] for run in plan.runs] == ["dirichlet", "shards"]
    plan = plan_of("list: [{placement: {kind: milp}}, {placement.max_utilisation: 0.5, placement.kind: greedy}]\n")
    assert [run.settings["placement.max_utilisation"] for run in plan.runs] == [0.9, 0.5]


def test_the_resolved_sweep_plans_the_same_runs(plan_of, folder):
    from nmoe_sim.scenario.dump import to_yaml

    plan = plan_of("grid: {radio.bandwidth_hz: [1e6, 2000000]}\nseeds: 2\nderived: {x: 2 * latency_p50_s}\n")
    Path("again.yaml").write_text(to_yaml(plan.sweep.resolved()))
    again = make_plan(load_sweep("again.yaml"))
    assert [run.run_id for run in again.runs] == [run.run_id for run in plan.runs]
    assert again.sweep.resolved() == plan.sweep.resolved()


@pytest.mark.parametrize(
    ("setting", "values", "models"),
    [
        ("radio.bandwidth_hz", "[1e6, 2e6]", (1, 1, 1)),
        ("placement.kind", "[home, greedy]", (1, 1, 1)),
        ("inference.routing.kind", "[top_k, all]", (1, 1, 1)),
        ("inference.arrivals.rate_hz", "[1, 2]", (1, 1, 1)),
        ("devices", "[[], [{profile: phone, compute_w: 9}]]", (1, 1, 1)),
        ("topology.radius_m", "[100, 200]", (1, 1, 1)),
        ("training.server", "[null, dev1]", (1, 1, 1)),
        ("model.top_k", "[1, 2]", (1, 1, 2)),
        ("training.gate.rounds", "[1, 2]", (1, 1, 2)),
        ("model.expert.hidden", "[[4], [5]]", (1, 2, 2)),
        ("training.experts.optimizer.lr", "[0.1, 0.2]", (1, 2, 2)),
        ("model.extractor.hidden", "[[4], [5]]", (2, 2, 2)),
        ("training.extractor.kind", "[fedce, fedsc]", (2, 2, 2)),
        ("data.partition.kind", "[iid, shards]", (2, 2, 2)),
        ("data.max_train", "[100, 110]", (2, 2, 2)),
        ("topology.num_devices", "[3, 4]", (2, 2, 2)),
    ],
)
def test_which_variants_share_trained_stages(plan_of, setting, values, models):
    plan = plan_of(f"grid: {{{setting}: {values}}}\n")
    assert len(plan.runs) == 2
    assert tuple(len({run.stage_keys[i] for run in plan.runs}) for i in range(3)) == models
    assert plan.num_models == models[-1]


def test_seeds_share_nothing(plan_of):
    first, second = plan_of("seeds: 2\n").runs
    assert not set(first.stage_keys) & set(second.stage_keys)


WRONG = {
    "unknown setting": ("grid:\n  radio.bandwith_hz: [1e6]\n", "s.yaml:4:3: radio.bandwith_hz: unknown key; did you"),
    "bad value": (
        "grid:\n  radio.bandwidth_hz: [1e6, -1]\n",
        "s.yaml:4:29: radio.bandwidth_hz: must be greater than 0",
    ),
    "bad value in a list": ("list:\n- {model.top_k: 1}\n- {model.top_k: x}\n", "s.yaml:5:17: model.top_k: must be"),
    "bad value below": ("grid: {radio: [{bandwith_hz: 1}]}\n", "s.yaml:3:17: radio.bandwith_hz: unknown key"),
    "bad combination": (
        "grid:\n  model.top_k: [1, 4]\n  radio.bandwidth_hz: [1e6]\n",
        "s.yaml:4:20: model.top_k: 4 experts asked of 3; give at most topology.num_devices "
        "(in the variant {model.top_k: 4, radio.bandwidth_hz: 1000000.0})",
    ),
    "bad with the base": (
        "grid: {topology.num_devices: [1]}\n",
        "tiny.yaml:5:8: model.top_k: 2 experts asked of 1; give at most topology.num_devices "
        "(in the variant {topology.num_devices: 1})",
    ),
    "no list": ("grid: {radio.bandwidth_hz: 1e6}\n", "s.yaml:3:28: grid.radio.bandwidth_hz: must be a list"),
    "no values": ("grid: {radio.bandwidth_hz: []}\n", "s.yaml:3:28: grid.radio.bandwidth_hz: must have at least 1"),
    "unequal zip": (
        "zip: {model.top_k: [1], radio.bandwidth_hz: [1e6, 2e6]}\n",
        "s.yaml:3:45: zip.radio.bandwidth_hz: 2 values and 'model.top_k' has 1; give equally many",
    ),
    "set twice": (
        "grid: {model.top_k: [1]}\nzip: {model.top_k: [2]}\n",
        "s.yaml:4:7: zip.model.top_k: 'model.top_k' in 'grid' sets the same",
    ),
    "set inside": (
        "grid: {radio: [{}]}\nlist: [{radio.bandwidth_hz: 1e6}]\n",
        "s.yaml:4:9: list.0.radio.bandwidth_hz: 'radio' in 'grid' sets the same",
    ),
    "seed in a grid": ("grid: {seed: [1]}\n", "s.yaml:3:8: grid.seed: can't be varied here; use 'seeds'"),
    "negative seed": (
        "seeds: [-1]\n",
        "s.yaml:3:8: seeds: must be how many, from 1 to 100,000, or a list of whole numbers",
    ),
    "no seeds": ("seeds: []\n", "s.yaml:3:8: seeds: must be"),
    "half a seed": ("seeds: 2.5\n", "s.yaml:3:8: seeds: must be"),
    "a true seed": ("seeds: [true]\n", "s.yaml:3:8: seeds: must be"),
    "same run twice": ("list: [{}, {model.top_k: 2}]\n", "two runs are the same scenario and seed"),
    "same seed twice": ("seeds: [1, 1]\n", "two runs are the same scenario and seed"),
    "too many runs": (f"grid: {{model.top_k: [{'1, ' * 400}1]}}\nseeds: 400\n", "160,400 runs; at most 100,000"),
    "unknown key": ("grids: {}\n", "s.yaml:3:1: grids: unknown key; did you mean 'grid'?"),
    "derived of nothing": ("derived: {a: latency}\n", "s.yaml:3:14: derived.a: no numeric column 'latency'; did you"),
    "derived of text": ("grid: {placement.kind: [home]}\nderived: {a: placement.kind}\n", "no numeric column"),
    "derived of itself": ("derived: {a: a + 1}\n", "no numeric column 'a'"),
    "derived name taken": ("derived: {seed: '1'}\n", "s.yaml:3:11: derived.seed: is a column already"),
    "derived name": ("derived: {a b: '1'}\n", "derived.a b: must be letters"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused_and_where(plan_of, what):
    text, saying = WRONG[what]
    with pytest.raises(InputError) as caught:
        plan_of(text)
    assert saying in str(caught.value)
    assert str(caught.value).startswith(("s.yaml:", "tiny.yaml:"))


@pytest.mark.parametrize(
    ("base", "saying"),
    [
        ("nowhere.yaml", "s.yaml:2:7: base: cannot read 'nowhere.yaml': no such file"),
        ("nowhere", "s.yaml:2:7: base: neither a file nor a shipped scenario; shipped are "),
        ("[1]", "s.yaml:2:7: base: must be"),
        ("''", "s.yaml:2:7: base: must name one file"),
        ("{name: x, seeds: 1}", "s.yaml:2:17: seeds: unknown key; did you mean 'seed'?"),
        ("{extends: tiny.yaml, radio: {bandwidth_hz: 0}}", "s.yaml:2:50: radio.bandwidth_hz: must be greater"),
        ("{extends: tiny.yaml, radios: {}}", "s.yaml:2:28: radios: unknown key"),
        ("{extends: 7}", "s.yaml:2:17: base: must name one file"),
    ],
)
def test_bases_that_are_refused(tiny, base, saying):
    Path("s.yaml").write_text(f"name: s\nbase: {base}\n")
    with pytest.raises(InputError) as caught:
        load_sweep("s.yaml")
    assert str(caught.value).startswith(saying)


def test_a_base_is_found_beside_the_sweep_or_among_the_shipped(tiny):
    Path("below").mkdir()
    for base, name in (("../tiny.yaml", "tiny"), ("quickstart", "quickstart"), ("{extends: ../tiny.yaml}", "tiny")):
        Path("below/s.yaml").write_text(f"name: s\nbase: {base}\n")
        assert load_sweep("below/s.yaml").base.name == name


@pytest.mark.parametrize("path", shipped_sweeps(), ids=lambda path: path.stem)
def test_shipped_sweeps_are_sound_and_no_scenarios(path):
    plan = make_plan(load_sweep(path.stem))
    assert plan.sweep.spec.name == path.stem
    assert plan.sweep.spec.description
    varies_training = any(key.startswith("training.") for key in plan.columns)
    assert plan.num_models == (len(plan.runs) if varies_training else len(plan.sweep.seeds))
    assert len(plan.sweep.seeds) < len(plan.runs)
    assert path not in shipped()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + 2 * b", 7.0),
        ("-(a - b) / 2 ** 2", 0.5),
        ("max(a, b, 1) - min(a, b)", 2.0),
        ("sqrt(abs(-16)) + log10(100) + radio.x", 16.0),
        ("a / zero", None),
        ("log(zero)", None),
        ("10 ** 400", None),
        ("a + none", None),
        ("exp(1000)", None),
        ("(0 - a) ** 0.5", None),
        (f"1{'0' * 400} * a", None),
    ],
)
def test_derived_columns(text, value):
    row = {"a": 1.0, "b": 3.0, "zero": 0, "none": None, "radio.x": 10.0}
    assert parse_expression(text, row, where=None, key="x").value(row) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "__import__('os').system('true')",
        "a.__class__()",
        "[a]",
        "a[0]",
        "a if a else a",
        "lambda: a",
        "a < 1",
        "'text'",
        "True",
        "1j",
        "sqrt(a, a)",
        "max(a)",
        "max(*a)",
        "sqrt(x=a)",
        "open(a)",
        "(a := 1)",
        "not a",
        "a\n+ 1; a",
        "1 + " * 100 + "(" * 90,
        "a" * 501,
    ],
)
def test_what_is_no_arithmetic(text):
    with pytest.raises(InputError):
        parse_expression(text, {"a"}, where=None, key="x")
