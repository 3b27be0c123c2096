"""Whatever is wrong with the input: exit status 2, one line that says what, and nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY, command, listing

COMMANDS = {
    "check": ["check"],
    "run": ["run", "--out", "out", "--quiet"],
    "place": ["place", "--solver", "home", "greedy", "--out", "out", "--quiet"],
}
EVERY = pytest.mark.parametrize("name", ["check", "run", "place"])


def refuses(cli, folder: Path, *arguments: str, saying: str) -> str:
    before = listing(folder)
    outcome = cli(*arguments)
    assert outcome.status == 2, outcome
    assert outcome.err.startswith("error: "), outcome.err
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1, outcome.err
    assert saying in outcome.err
    assert outcome.out == ""
    assert listing(folder) == before
    return outcome.err


def alias_bomb() -> str:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    return f"a0: &a0 [1, 1]\n{levels}"


CONTENTS = {
    "empty": ("", "empty"),
    "comments only": ("# nothing\n", "empty"),
    "binary garbage": (bytes(range(256)), "x.yaml"),
    "not UTF-8": ("name: é\n".encode("latin-1"), "UTF-8"),
    "null bytes": (b"\0" * 100, "x.yaml"),
    "a list": ("- name: a\n", "must be a mapping"),
    "a word": ("quickstart\n", "must be a mapping"),
    "two documents": ("name: a\n---\nname: b\n", "second YAML document"),
    "syntax": ("name: [1,\n", "x.yaml:"),
    "tab": ("name: a\nradio:\n\tcarrier_hz: 1e9\n", "x.yaml:3"),
    "duplicate key": (TINY + "seed: 4\n", "duplicate key"),
    "alias bomb": (alias_bomb(), "more than"),
    "endless alias": ("name: &a [*a]\n", "inside the value"),
    "deep nesting": ("[" * 10_000, "nested deeper"),
    "large file": ("# " + "x" * 2_000_000, "larger than"),
    "no name": ("seed: 1\n", "name: missing"),
    "extends nothing": ("extends: nowhere.yaml\n", "no such file"),
    "extends itself": ("extends: x.yaml\n", "extends"),
    "Python object": ("name: !!python/object/apply:os.system ['true']\n", "tag"),
}


@EVERY
@pytest.mark.parametrize("what", CONTENTS)
def test_file(cli, folder, what, name):
    content, saying = CONTENTS[what]
    Path("x.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    refuses(cli, folder, *COMMANDS[name], "x.yaml", saying=saying)


# What a line of the tiny scenario becomes, where the error must point, and what it must say.
SETTINGS = {
    "unknown key": ("radio: {bandwith_hz: 1e6}", "radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?"),
    "unknown section": ("radios: {}", "did you mean 'radio'?"),
    "text for a number": ("radio: {bandwidth_hz: fast}", "radio.bandwidth_hz: must be a number"),
    "quoted number": ("radio: {bandwidth_hz: '2e7'}", "without quotes"),
    "bad unit": ("radio: {bandwidth_hz: 20 MHz}", "write 20e6"),
    "number for a list": ("devices: 5", "devices: must be a list"),
    "list for a mapping": ("radio: [1]", "radio: must be a mapping"),
    "kind for a mapping": ("placement: home", "write {kind: home}"),
    "null for a section": ("radio:", "radio: must be a mapping"),
    "bool for a number": ("radio: {bandwidth_hz: true}", "must be a number"),
    "negative rate": ("inference: {arrivals: {rate_hz: -1}}", "inference.arrivals.rate_hz: must be greater than 0"),
    "zero rate": ("inference: {arrivals: {rate_hz: 0}}", "must be greater than 0"),
    "NaN": ("inference: {arrivals: {rate_hz: .nan}}", "finite"),
    "inf": ("inference: {duration_s: .inf}", "finite"),
    "overflowing number": ("inference: {duration_s: 1e999}", "finite"),
    "huge number": ("inference: {duration_s: 1e300}", "must be at most"),
    "long integer": (f"seed: {'9' * 5000}", "digits is too long"),
    "too many requests": ("inference: {duration_s: 1e8}", "requests are expected"),
    "huge count": ("topology: {num_devices: 999999999}", "must be at most"),
    "more clients than samples": ("topology: {num_devices: 100000}", "training samples can't give"),
    "fraction of a device": ("topology: {num_devices: 2.5}", "must be a whole number"),
    "no devices": ("topology: {num_devices: 0}", "must be at least 1"),
    "unknown kind": ("topology: {kind: moon}", "unknown kind 'moon'"),
    "unknown profile": ("devices: [{profile: fone}]", "did you mean 'phone'?"),
    "incomplete profile": ("devices: [{profile: custom}]", "devices.0.flop_per_s: missing"),
    "counts that don't add up": ("devices: [{profile: phone, count: 2}]", "add up to 2"),
    "top_k above experts": ("model: {top_k: 4}", "model.top_k: 4 experts asked of 3"),
    "impossible shards": ("data: {partition: {kind: shards, classes_per_client: 11}}", "more than the data set's 10"),
    "more samples than there are": ("data: {max_train: 5000}", "at most 1347"),
    "expert too big": ("devices: [{profile: phone, memory_bytes: 100}]", "devices.0.memory_bytes: 100 bytes don't"),
    "model too big": ("model: {extractor: {hidden: [65536, 65536, 65536]}}", "model"),
    "unreachable devices": ("topology: {kind: disc, num_devices: 3, range_m: 1e-6}", "can't reach"),
    "never connected": ("topology: {kind: random_geometric, num_devices: 3, range_m: 1e-6}", "connected none"),
    "no such server": ("training: {server: nobody}", "no node is named"),
    "image too small": ("model: {extractor: {kind: cnn, channels: [2, 2, 2, 2]}}", "halve"),
    "combine without deadline": ("inference: {at_deadline: combine}", "deadline"),
    "bad name": ("name: ../../etc", "must match"),
}


@EVERY
@pytest.mark.parametrize("what", SETTINGS)
def test_setting(cli, folder, what, name):
    line, saying = SETTINGS[what]
    section = line.partition(":")[0]
    kept = [old for old in TINY.splitlines() if not old.startswith((section, "training:", "  "))]
    Path("x.yaml").write_text("\n".join([*kept, line]) + "\n")
    message = refuses(cli, folder, *COMMANDS[name], "x.yaml", saying=saying)
    assert re.match(r"error: x\.yaml:\d+:\d+: ", message)


def test_the_place_is_line_and_column(cli, tiny):
    tiny.write_text("name: a\nradio:\n  carrier_hz: 1e9\n  bandwith_hz: 1e6\n")
    expected = "error: tiny.yaml:4:3: radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?\n"
    assert cli("check", "tiny.yaml").err == expected


OPTIONS = {
    "set without value": (["--set", "seed"], "--set seed: "),
    "set without key": (["--set", "=1"], "--set =1: "),
    "set unknown": (["--set", "radio.x=1"], "--set radio.x=1: "),
    "set out of range": (["--set", "radio.bandwidth_hz=-1"], "--set radio.bandwidth_hz=-1: "),
    "set bad YAML": (["--set", "seed=["], "--set seed=[: "),
    "set through a number": (["--set", "seed.x=1"], "--set seed.x=1: "),
    "set an item that isn't there": (["--set", "devices.0.count=1"], "--set devices.0.count=1: "),
    "set too many experts": (["--set", "model.top_k=9"], "--set model.top_k=9: "),
    "set nothing": (["--set"], "--set"),
    "seed negative": (["--seed", "-1"], "--seed -1: "),
    "seed text": (["--seed", "x"], "--seed x: "),
    "seed fraction": (["--seed", "1.5"], "--seed 1.5: "),
    "seed large": (["--seed", "9" * 30], "--seed 999"),
    "seed empty": (["--seed", ""], "--seed"),
    "unknown option": (["--bogus"], "--bogus"),
    "abbreviated option": (["--see", "1"], "--see"),
    "no such plug-in": (["--plugin", "no.py"], "no.py"),
    "a plug-in that isn't Python": (["--plugin", "tiny.yaml"], "tiny.yaml"),
}


@EVERY
@pytest.mark.parametrize("what", OPTIONS)
def test_option(cli, tiny, what, name):
    options, saying = OPTIONS[what]
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", *options, saying=saying)


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["run"], "SCENARIO.yaml"),
        (["check"], "SCENARIO.yaml"),
        (["place", "tiny.yaml"], "--solver"),
        (["place", "tiny.yaml", "--solver"], "--solver"),
        (["place", "tiny.yaml", "--solver", "home", "bogus"], "bogus"),
        (["run", "tiny.yaml", "tiny.yaml"], "tiny.yaml"),
        (["check", "tiny.yaml/x.yaml"], "tiny.yaml/x.yaml"),
        (["check", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["check", "nowhere"], "shipped are fashion_mnist, quickstart"),
        (["check", "."], "a directory"),
        (["check", ""], "error: "),
        (["schema", "extra"], "extra"),
    ],
    ids=" ".join,
)
def test_command_line(cli, tiny, arguments, saying):
    refuses(cli, tiny.parent, *arguments, saying=saying)


def test_a_bad_scenario_after_a_good_one(cli, tiny):
    outcome = cli("check", "tiny.yaml", "nowhere.yaml")
    assert outcome.status == 2
    assert outcome.out.startswith("tiny.yaml: ok")
    assert outcome.err == "error: nowhere.yaml: no such file\n"


HEAD = "from typing import ClassVar\nfrom nmoe_sim.scenario.spec import Spec\n"
KIND = f"{HEAD}class A(Spec):\n    kind: ClassVar[str] = "
PLUGINS = {
    "raises": ("raise ValueError('on purpose')", "ValueError: on purpose"),
    "raises in two lines": ("raise ValueError('on\\npurpose')", "purpose"),
    "leaves": ("raise SystemExit(0)", "plug"),
    "syntax": ("def (", "SyntaxError"),
    "not text": (b"\xff\xfe\0", "plug"),
    "imports what isn't there": ("import no_such_module", "no_such_module"),
    "no FAMILIES": ("x = 1", "FAMILIES"),
    "FAMILIES is a list": ("FAMILIES = []", "FAMILIES"),
    "unknown family": ("FAMILIES = {'rooting': []}", "unknown family 'rooting'"),
    "not a spec": ("FAMILIES = {'routing': [int]}", "is not a Spec"),
    "one spec, no list": (
        f"{HEAD}class A(Spec):\n    kind: ClassVar[str] = 'a'\nFAMILIES = {{'routing': A}}",
        "routing",
    ),
    "no list": ("FAMILIES = {'routing': None}", "routing"),
    "no kind": (f"{HEAD}class A(Spec):\n    pass\nFAMILIES = {{'routing': [A]}}", "kind"),
    "kind taken": (f"{KIND}'all'\nFAMILIES = {{'routing': [A]}}", "'all'"),
    "a field pydantic refuses": (
        f"{HEAD}class A(Spec):\n    x: object() = 1\nFAMILIES = {{'routing': [A]}}",
        "plug-in",
    ),
}


@EVERY
@pytest.mark.parametrize("what", PLUGINS)
def test_plugin(cli, tiny, what, name):
    code, saying = PLUGINS[what]
    Path("p.py").write_bytes(code.encode() if isinstance(code, str) else code)
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", "--plugin", "p.py", saying=saying)


@pytest.mark.parametrize("name", ["run", "place"])
@pytest.mark.parametrize("out", ["tiny.yaml", "tiny.yaml/below", "link"])
def test_out_that_is_no_directory(cli, tiny, name, out):
    Path("link").symlink_to("nowhere")
    arguments = [out if argument == "out" else argument for argument in COMMANDS[name]]
    refuses(cli, tiny.parent, *arguments, "tiny.yaml", saying=out)


@pytest.mark.parametrize("content", ["notes.txt", "tables/notes.txt", "values/notes.txt", "scenario.yaml"])
@pytest.mark.parametrize("options", [[], ["--overwrite"]], ids=str)
def test_out_that_holds_what_is_not_ours(cli, tiny, content, options):
    path = Path("out") / content
    path.parent.mkdir(parents=True)
    path.write_text(TINY)
    refuses(cli, tiny.parent, *COMMANDS["run"], "tiny.yaml", *options, saying="out: ")


def test_the_scenario_itself_in_out(cli, tiny):
    """``run scenario.yaml --out .`` must not replace what the user wrote."""
    tiny.rename("scenario.yaml")
    refuses(cli, tiny.parent, "run", "scenario.yaml", "--out", ".", saying=".: ")


FASHION = [
    "--set",
    "data={kind: fashion_mnist, partition: {kind: iid}}",
    "--set",
    "model.extractor={kind: cnn, channels: [2]}",
]


@pytest.mark.parametrize("name", ["run", "place"])
@pytest.mark.parametrize("setting", ["data.directory=here", "data.directory=/no/such/folder", "data.directory=null"])
def test_missing_data(cli, tiny, monkeypatch, name, setting):
    from nmoe_sim.nmoe import datasets

    monkeypatch.setenv("HOME", str(tiny.parent))
    monkeypatch.setenv("NMOE_SIM_DATA_DIR", "elsewhere")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(datasets, "_SYSTEM_FOLDER", tiny.parent / "system")  # the machine may have the data
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", *FASHION, "--set", setting, saying="fashion-mnist")


@pytest.mark.parametrize("name", ["run", "place"])
def test_broken_data(cli, tiny, fashion_files, name):
    folder = tiny.parent / "data"
    folder.mkdir()
    for path in fashion_files.iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[: 40 if path.suffix == ".gz" else 4000])
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", *FASHION, "--set", "data.directory=data", saying="data/")


@pytest.mark.parametrize("name", ["run", "place"])
def test_cuda_where_there_is_none(cli, tiny, monkeypatch, name):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", "--set", "device=cuda", saying="CUDA")


@pytest.mark.parametrize(
    "setting",
    [
        "topology.base_station.flop_per_s=1e-30",
        "topology.base_station.memory_bytes=1e18",
        "devices=[{profile: phone, memory_bytes: 1e18}]",
        "radio.access_delay_s=1e18",
        "radio.fading.coherence_time_s=1e-30",
        "inference.duration_s=1e-30",
        "inference.deadline_s=1e-30",
        "inference.arrivals.rate_hz=1e-30",
        "training.extractor.sgd.lr=1e30",
        "seed=9223372036854775807",
    ],
)
def test_extremes_within_bounds_run_or_are_refused(cli, tiny, setting):
    """A bound is a promise: what it lets through ends in results or in one line."""
    before = listing(tiny.parent)
    outcome = cli(*COMMANDS["run"], "tiny.yaml", "--set", setting)
    assert outcome.out == ""
    if outcome.status == 0:
        assert Path("out/manifest.json").exists()
        return
    assert outcome.status in (1, 2)
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.status == 1 or listing(tiny.parent) == before


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["run", "x.yaml"], "error: x.yaml:2:9: radio.bandwith_hz: unknown key; did you mean 'bandwidth_hz'?\n"),
        (["check", "tiny.yaml", "--seed", "-1"], "error: --seed -1: must be at least 0, got -1\n"),
        (["place", "tiny.yaml", "--solver", "home", "--plugin", "no.py"], "error: no.py: no such plug-in file\n"),
    ],
)
def test_through_the_real_command(tiny, arguments, saying):
    Path("x.yaml").write_text("name: a\nradio: {bandwith_hz: 1e6}\n")
    before = listing(tiny.parent)
    outcome = command(*arguments, cwd=tiny.parent)
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err == saying
    assert listing(tiny.parent) == before
