"""Whatever is wrong with the input: exit status 2, one line that says what, and nothing left behind."""

from __future__ import annotations

import os
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


CELLS = "{kind: multi_cell, num_sites: 3, num_devices: 3}"
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
    "unknown channel": ("radio: {channel: {kind: nothing}}", "one of model, trace, sionna"),
    "channel without its file": ("radio: {channel: {kind: trace}}", "radio.channel.file: missing"),
    "unknown environment of Sionna": ("radio: {channel: {kind: sionna, environment: inh}}", "must be 'umi', 'uma' or"),
    "two speeds of fading": ("radio: {fading: {doppler_hz: 1, speed_m_per_s: 1}}", "give one of them"),
    "half a delay spread": ("radio: {fading: {delay_spread_s: 1e-7}}", "missing: num_subbands"),
    "coherence of no fading": ("radio: {fading: {kind: none, coherence_time_s: 1}}", "'none' doesn't"),
    "endless coherence blocks": ("radio: {fading: {coherence_time_s: 1e-6}}", "must be at least 1e-05"),
    "antenna by name": ("radio: {device_antenna: sector}", "write {kind: sector}"),
    "too many elements": ("radio: {device_antenna: {kind: upa, num_rows: 257}}", "must be at most 256"),
    "bandwidth NR hasn't": (
        "radio: {bandwidth_hz: 21e6, link_adaptation: {kind: nr}}",
        "radio.bandwidth_hz: 21 MHz is no channel bandwidth of NR with subcarriers of 30 kHz in FR1; in MHz, there are",
    ),
    "bandwidth this numerology hasn't": (
        "radio: {bandwidth_hz: 5e6, link_adaptation: {kind: nr, numerology: 2}}",
        "5 MHz is no channel bandwidth of NR with subcarriers of 60 kHz",
    ),
    "numerology of the other range": (
        "radio: {link_adaptation: {kind: nr, numerology: 3}}",
        "fr1 has no numerology 3; it has 0, 1, 2",
    ),
    "NR in a third of its band": (
        f"topology: {CELLS}\nradio: {{reuse_factor: 3, link_adaptation: {{kind: nr}}}}",
        "(each of radio.reuse_factor 3 parts)",
    ),
    "more parts than cells": (f"topology: {CELLS}\nradio: {{reuse_factor: 4}}", "4 parts of the band are more than"),
    "half duplex beside sidelinks of cells": (
        f"topology: {CELLS[:-1]}, sidelink_range_m: 500}}\nradio: {{duplex: half}}",
        "leave sidelinks out",
    ),
    "cells without room": (f"topology: {CELLS[:-1]}, min_distance_m: 100}}", "leaves no room in cells of 200 m"),
    "sites off the grid": ("topology: {kind: multi_cell, num_sites: 2}", "must be 1, 3, 7 or 19"),
    "unknown sharing": ("radio: {sharing: {kind: fair}}", "one of equal_share, fifo,"),
    "Wi-Fi on two bands": ("radio: {sharing: {kind: csma_ca}}", "set radio.duplex to 'half'"),
    "Wi-Fi of cells on one band": (
        f"topology: {CELLS}\nradio: {{sharing: {{kind: csma_ca}}, duplex: half, reuse_factor: 1}}",
        "or a radio.reuse_factor that tells stations apart",
    ),
    "a band in parts, both ways": ("radio: {sharing: {kind: fdma}, duplex: half}", "set radio.duplex to 'full'"),
    "slots without end": ("radio: {sharing: {kind: round_robin, slot_s: 1e-9}}", "must be at least 1e-06"),
    "strict outside the range": (
        "radio: {strict: true, path_loss: {kind: tr38901_umi}, device_height_m: 1}",
        "terminal at 1.5 to 22.5 m; radio.strict refuses that",
    ),
    "negative retries": ("radio: {retry: {max_retries: -1}}", "radio.retry.max_retries: must be at least 0"),
    "no pause": ("radio: {retry: {backoff_s: 0}}", "radio.retry.backoff_s: must be greater than 0"),
    "speeds swapped": ("mobility: {kind: random_waypoint, min_speed_m_per_s: 2, max_speed_m_per_s: 1}", "swap them"),
    "motion by name": ("mobility: static", "write {kind: static}"),
    "a step too fine": ("mobility: {kind: gauss_markov, step_s: 1e-6}", "mobility.step_s: must be at least 0.001"),
    "hysteresis below 0": ("handover: {hysteresis_db: -1}", "handover.hysteresis_db: must be at least 0"),
    "unknown handover": ("handover: {kind: a4}", "one of none, a3"),
    "Sionna on the move": (
        "radio: {channel: {kind: sionna}}\nmobility: {kind: random_waypoint}",
        "'sionna' is ",  # not installed, or for nodes that don't move
    ),
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


NODES = '{"id": "a", "kind": "device", "x_m": 1, "y_m": 0}, {"id": "s", "kind": "base_station", "x_m": 0, "y_m": 0}'
GRAPHML = '<graphml><key id="k" for="node" attr.name="kind"/><graph><node id="a"/></graph></graphml>'
PLACES = "t_s,node,x_m,y_m\n"
GAINS = "t_s,src,dst,gain_db\n"
FILES = {
    "places: other columns": ("mobility", "x.csv", "t,node,x,y\n0,dev0,1,1\n", "no column 't_s'; it needs the columns"),
    "places: a column twice": ("mobility", "x.csv", "t_s,node,x_m,x_m,y_m\n0,dev0,1,2,3\n", "two columns 'x_m'"),
    "places: NaN": ("mobility", "x.csv", f"{PLACES}0,dev0,nan,1\n", "x.csv: line 2: x_m is 'nan'; give a finite"),
    "places: before 0": ("mobility", "x.csv", f"{PLACES}-1,dev0,0,1\n", "line 2: t_s is '-1'"),
    "places: twice at a time": ("mobility", "x.csv", f"{PLACES}0,dev0,0,1\n0,dev0,2,1\n", "line 3: t_s is '0'"),
    "places: a stranger": ("mobility", "x.csv", f"{PLACES}0,dev9,0,1\n", "'dev9', which is no device"),
    "places: of one device only": ("mobility", "x.csv", f"{PLACES}0,dev0,0,1\n", "no row of dev1 at t_s 0"),
    "places: none": ("mobility", "x.csv", PLACES, "has no rows"),
    "places: empty": ("mobility", "x.csv", "", "can't be read"),
    "places: ragged": ("mobility", "x.csv", f"{PLACES}0,dev0,1\n", "Expected 4 columns, got 3"),
    "places: binary": ("mobility", "x.csv", bytes(range(256)), "x.csv"),
    "places: no Parquet": ("mobility", "x.parquet", "PAR1", "can't be read"),
    "places: another ending": ("mobility", "x.txt", PLACES, "a .csv or a .parquet file"),
    "gains: positive": (
        "radio.channel",
        "x.csv",
        f"{GAINS}0,dev0,bs0,100\n",
        "a path loss of 100 dB is a gain of -100",
    ),
    "gains: NaN": ("radio.channel", "x.csv", f"{GAINS}0,dev0,bs0,nan\n", "line 2: gain_db is 'nan'"),
    "gains: a stranger": ("radio.channel", "x.csv", f"{GAINS}0,dev0,bs1,-80\n", "no node has that name; did you mean"),
    "gains: to itself": ("radio.channel", "x.csv", f"{GAINS}0,dev0,dev0,-80\n", "line 2: dst is 'dev0'"),
    "gains: lacking": ("radio.channel", "x.csv", f"{GAINS}0,dev0,bs0,-80\n", "has no gains from dev1 to bs0"),
    "gains: too late": ("radio.channel", "x.csv", f"{GAINS}5,dev0,bs0,-80\n", "a run starts at 0"),
    "graph: a document type": ("topology", "x.graphml", '<?xml version="1.0"?><!DOCTYPE g><g/>', "document type"),
    "graph: an entity": (
        "topology",
        "x.graphml",
        '<?xml version="1.0"?><!DOCTYPE g [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><graphml>&b;</graphml>',
        "document type or entity declaration",
    ),
    "graph: a file from elsewhere": (
        "topology",
        "x.graphml",
        '<?xml version="1.0"?><!DOCTYPE g SYSTEM "file:///etc/passwd"><graphml/>',
        "document type",
    ),
    "graph: not XML": ("topology", "x.graphml", "<graphml><graph>", "x.graphml: line 1: not XML"),
    "graph: nested": ("topology", "x.graphml", "<graphml>" + "<a>" * 10_000, "nested more than 100 deep"),
    "graph: a node without its kind": ("topology", "x.graphml", GRAPHML, "x.graphml: line 1"),
    "graph: too large": ("topology", "x.graphml", "<!--" + "x" * 100_000_000 + "-->", "more than the"),
    "graph: no JSON": ("topology", "x.json", "{", "x.json: line 1, column 2: not JSON"),
    "graph: nested JSON": ("topology", "x.json", "[" * 100_000, "nested too deeply"),
    "graph: NaN": ("topology", "x.json", f'{{"nodes": [{NODES.replace("1,", "NaN,")}], "links": []}}', "got NaN"),
    "graph: infinite": ("topology", "x.json", f'{{"nodes": [{NODES.replace("1,", "1e999,")}], "links": []}}', "finite"),
    "graph: a name twice": ("topology", "x.json", f'{{"nodes": [{NODES}, {NODES}], "links": []}}', "a second node 'a'"),
    "graph: a key twice": ("topology", "x.json", '{"nodes": [], "nodes": [], "links": []}', "'nodes' twice"),
    "graph: an edge to nobody": (
        "topology",
        "x.json",
        f'{{"nodes": [{NODES}], "links": [{{"source": "a", "target": "b"}}]}}',
        "links[0]: target is 'b'",
    ),
    "graph: an edge twice": (
        "topology",
        "x.json",
        f'{{"nodes": [{NODES}], "links": {[{"source": "a", "target": "s"}] * 2}}}'.replace("'", '"'),
        "a second edge between 'a' and 's'",
    ),
    "graph: fewer devices": (
        "topology",
        "x.json",
        f'{{"nodes": [{NODES}], "links": []}}',
        "x.json has 1 devices, not 3",
    ),
}


@EVERY
@pytest.mark.parametrize("what", FILES)
def test_file_that_a_setting_names(cli, tiny, what, name):
    key, file, content, saying = FILES[what]
    Path(file).write_bytes(content.encode() if isinstance(content, str) else content)
    kind = "file" if key == "topology" else "trace"
    setting = f"{key}={{kind: {kind}, file: {file}}}"
    message = refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", "--set", setting, saying=saying)
    assert message.startswith("error: --set ") or "topology" not in what


@pytest.mark.parametrize("key", ["mobility", "radio.channel", "topology", "inference.arrivals"])
def test_a_pipe_is_no_file(cli, tiny, key):
    """Nothing may wait for somebody to write, or read for ever from what has no end."""
    os.mkfifo("x.csv")
    kind = "file" if key == "topology" else "trace"
    refuses(
        cli,
        tiny.parent,
        "check",
        "tiny.yaml",
        "--set",
        f"{key}={{kind: {kind}, file: x.csv}}",
        saying="a device or a pipe",
    )


def test_the_place_of_a_file_that_a_scenario_names(cli, folder):
    """The line of the scenario that names the file, then the line of the file."""
    Path("x.csv").write_text(f"{PLACES}0,dev0,1,1\n0,dev1,inf,1\n")
    Path("x.yaml").write_text(TINY + "mobility:\n  kind: trace\n  file: x.csv\n")
    expected = "error: x.yaml:13:9: mobility.file: x.csv: line 3: x_m is 'inf'; give a finite number of metres, at most"
    assert refuses(cli, folder, "check", "x.yaml", saying=expected)
    Path("x.csv").write_text(f"{PLACES}0,stranger,1,1\n")
    assert refuses(cli, folder, "check", "x.yaml", saying="error: x.yaml:13:9: mobility.file: x.csv has rows of 'str")


@pytest.mark.parametrize("name", ["run", "place"])
@pytest.mark.parametrize("law", ["{kind: shannon}", "{kind: nr}"])
def test_a_network_that_can_never_carry_the_model(cli, tiny, law, name):
    """Said at the start; how large the model is, ``check`` doesn't count."""
    settings = ["--set", "radio.tx_power_dbm=-60", "--set", f"radio.link_adaptation={law}"]
    saying = "bring them closer, or raise power or bandwidth"
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", *settings, saying=saying)


def test_a_trajectory_that_ends_too_early(cli, tiny):
    """It shows on the clock only, so the run fails; nothing there looks finished."""
    rows = "".join(f"{t},dev{i},{10 + i},{t}\n" for t in (0, 0.005) for i in range(3))
    Path("x.csv").write_text(PLACES + rows)
    outcome = cli(*COMMANDS["run"], "tiny.yaml", "--set", "mobility={kind: trace, file: x.csv}")
    assert outcome.status == 1
    assert outcome.err.startswith("error: mobility: positions are known until 0.005 s and the run goes on; give more")
    assert outcome.err.count("\n") == 1
    assert not Path("out/manifest.json").exists()


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
        (["check", "nowhere"], "shipped are channel_aware, fashion_mnist, handover, mesh"),
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
    from nmoe_sim.nmoe.datasets import files

    monkeypatch.setenv("HOME", str(tiny.parent))
    monkeypatch.setenv("NMOE_SIM_DATA_DIR", "elsewhere")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(files, "_SYSTEM_FOLDER", tiny.parent / "system")  # the machine may have the data
    refuses(cli, tiny.parent, *COMMANDS[name], "tiny.yaml", *FASHION, "--set", setting, saying="fashion_mnist")


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
        "training.extractor.optimizer.lr=1e30",
        "seed=9223372036854775807",
        "radio.bandwidth_hz=1e11",
        "radio.tx_power_dbm=0",
        "radio.carrier_hz=1e12",
        "radio.outage_timeout_s=1e-300",
        "radio.retry={max_retries: 0, backoff_s: 1e-300}",
        "radio.fading={doppler_hz: 1e6, coherence_time_s: 1e6}",
        "radio.fading={kind: nakagami, m: 1000, delay_spread_s: 1e-3, num_subbands: 275}",
        "radio.shadowing={kind: log_normal, std_db: 50}",
        "radio.link_adaptation={kind: nr, target_bler: 1e-300, max_transmissions: 1, report_delay_s: 1e9}",
        "radio.link_adaptation={kind: nr, retransmission_delay_s: 1e9}",
        "radio.device_antenna={kind: upa, num_rows: 256, num_columns: 256, oversampling: 16}",
        "radio.sharing={kind: proportional_fair, time_constant_s: 1e-6}",
        "radio.device_height_m=1e30",
        "topology={kind: multi_cell, num_sites: 3, num_devices: 3, inter_site_distance_m: 1e-3, min_distance_m: 1e-4}",
        "topology={kind: cell, num_devices: 3, radius_m: 6000}",
        "mobility={kind: gauss_markov, mean_speed_m_per_s: 1e4, velocity_std_m_per_s: 1e4}",
        "mobility={kind: random_waypoint, min_speed_m_per_s: 300, max_speed_m_per_s: 300, step_s: 1e6}",
    ],
)
@pytest.mark.filterwarnings("ignore::nmoe_sim.runner.ScenarioWarning")
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
