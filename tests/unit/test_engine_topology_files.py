"""Topologies from GraphML and JSON: what they say, and one clear error for whatever is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from nmoe_sim.engine.device_profiles import BaseStation
from nmoe_sim.engine.links import Node, Wired
from nmoe_sim.engine.topologies import FileTopology
from nmoe_sim.engine.topology import Topology
from nmoe_sim.errors import InputError
from nmoe_sim.rng import RandomStreams
from nmoe_sim.scenario.build import build_spec
from nmoe_sim.scenario.dump import resolve_spec
from nmoe_sim.scenario.spec import Families, Family
from nmoe_sim.scenario.tree import from_python

FAMILIES: Families = {"device_profile": {"base_station": BaseStation}, "topology": {"file": FileTopology}}

NODES: list[dict[str, Any]] = [
    {"id": "tower.1", "kind": "base_station", "x_m": 0, "y_m": 0, "azimuth_deg": 30.0},
    {"id": "cam-a", "kind": "device", "x_m": 10.5, "y_m": -3, "colour": "red"},
    {"id": "7", "kind": "device", "x_m": 1e2, "y_m": 0},
    {"id": "roof", "kind": "base_station", "x_m": 200, "y_m": 5},
]
LINKS: list[dict[str, Any]] = [
    {"source": "cam-a", "target": "tower.1"},
    {"source": "7", "target": "tower.1"},
    {"source": "roof", "target": "7"},
    {"source": "cam-a", "target": "7", "weight": 3},
    {"source": "tower.1", "target": "roof", "capacity_bps": 1e9, "delay_s": 0.002},
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(file: str, **settings: Any) -> FileTopology:
    tree = from_python({"file": file, **settings})
    return build_spec(FileTopology, tree, FAMILIES, path="topology", family=Family("topology"))  # type: ignore[arg-type]


def build(file: str) -> Topology:
    return load(file).build(RandomStreams(0))


def write_json(nodes: Any = NODES, links: Any = LINKS, file: str = "net.json") -> str:
    Path(file).write_text(json.dumps({"directed": False, "nodes": nodes, "links": links}))
    return file


def graph() -> nx.Graph[str]:
    network: nx.Graph[str] = nx.Graph()
    for node in NODES:
        network.add_node(node["id"], **{key: value for key, value in node.items() if key != "id"})
    for link in LINKS:
        network.add_edge(link["source"], link["target"], **{k: link[k] for k in link if k not in ("source", "target")})
    return network


def check(topology: Topology) -> None:
    assert topology.nodes == (
        Node("cam-a", "device", 10.5, -3.0),
        Node("7", "device", 100.0, 0.0),
        Node("tower.1", "base_station", 0.0, 0.0, 30.0),
        Node("roof", "base_station", 200.0, 5.0),
    )
    media = {frozenset((link.src.name, link.dst.name)): link.wired for link in topology.links}
    assert media == {
        frozenset(("cam-a", "tower.1")): None,
        frozenset(("7", "tower.1")): None,
        frozenset(("7", "roof")): None,
        frozenset(("7", "cam-a")): None,
        frozenset(("roof", "tower.1")): Wired(1e9, 0.002),
    }
    assert topology.bounds_m == (0.0, -3.0, 200.0, 5.0)
    assert topology.movable() is topology
    assert topology.serving("cam-a") == topology["tower.1"]
    assert topology.serving("7") is None  # has a choice


def test_json() -> None:
    check(build(write_json()))
    named = [{**node, "name": node["id"]} for node in NODES]
    for node in named:
        del node["id"]
    check(build(write_json(named)))


def test_what_networkx_writes() -> None:
    nx.write_graphml(graph(), "net.graphml")
    check(build("net.graphml"))
    Path("link.json").write_text(json.dumps(nx.node_link_data(graph(), edges="links")))
    check(build("link.json"))


def test_the_number_of_devices_is_the_files() -> None:
    spec = load(write_json())
    assert spec.num_devices == 2
    assert spec.device_names() == ["cam-a", "7"]
    assert load("net.json", num_devices=2) == spec
    with pytest.raises(
        InputError, match=r"^topology\.num_devices: net\.json has 2 devices, not 3; leave num_devices out"
    ):
        load("net.json", num_devices=3)


def test_the_content_counts_and_the_path_does_not() -> None:
    spec = load(write_json())
    again = build_spec(
        FileTopology,
        from_python({k: v for k, v in resolve_spec(spec).items() if k != "base_station"}),
        FAMILIES,
        family=Family("topology"),
    )
    assert again == spec
    write_json(file="copy.json")
    assert load("copy.json").sha256 == spec.sha256
    assert resolve_spec(load("copy.json"), portable=True) == resolve_spec(spec, portable=True)
    write_json(NODES[:3], [])
    with pytest.raises(InputError, match=r"^topology\.sha256: net\.json has the sha256"):
        load("net.json", sha256=spec.sha256)
    with pytest.raises(InputError, match=r"^topology\.file: net\.json: changed since the scenario was loaded"):
        spec.build(RandomStreams(0))


def changed(index: int, **values: Any) -> list[dict[str, Any]]:
    nodes = [dict(node) for node in NODES]
    nodes[index] |= values
    return [{key: value for key, value in node.items() if value != "gone"} for node in nodes]


@pytest.mark.parametrize(
    ("nodes", "links", "message"),
    [
        (changed(1, x_m="gone"), [], "nodes[1]: no x_m; give a finite number of metres"),
        (changed(1, x_m=None), [], "nodes[1]: x_m is None; give a finite number"),
        (changed(1, y_m="north"), [], "nodes[1]: y_m is 'north'; give a finite number of metres from -1e+09 to 1e+09"),
        (changed(1, y_m="1_0"), [], "nodes[1]: y_m is '1_0'; give a finite number"),
        (changed(1, y_m=True), [], "nodes[1]: y_m is True; give a finite number"),
        (changed(1, y_m=[1]), [], "nodes[1]: y_m is [1]; give a finite number"),
        (changed(1, y_m=10**400), [], "nodes[1]: y_m is 1000"),
        (changed(1, x_m="nan"), [], "nodes[1]: x_m is 'nan'; give a finite number"),
        (changed(0, azimuth_deg=1000), [], "nodes[0]: azimuth_deg is 1000; give a finite number of degrees"),
        (changed(1, azimuth_deg=10), [], "nodes[1]: azimuth_deg of 'cam-a', a device; only a base station has one"),
        (changed(2, id="cam-a"), [], "nodes[2]: a second node 'cam-a'; give each a name of its own"),
        (changed(2, id="gone"), [], "nodes[2]: a node with no name; give a text of up to 64 letters"),
        (changed(2, id=7), [], "nodes[2]: a node with the name 7; give a text of up to 64 letters"),
        (changed(2, id="a/b"), [], "nodes[2]: a node with the name 'a/b'; give a text of up to 64 letters"),
        (changed(2, id="x" * 65), [], f"nodes[2]: a node with the name '{'x' * 58}…; give a text"),
        (changed(2, kind="gone"), [], "nodes[2]: no kind for '7'; give 'device' or 'base_station'"),
        (changed(2, kind="phone"), [], "nodes[2]: kind of '7' is 'phone'; give 'device' or 'base_station'"),
        (NODES[:1], [], "has 1 nodes and no device among them; give at least one of kind 'device'"),
        ([], [], "has no nodes; give at least one device"),
        ([3], [], "nodes[0]: is 3; give an object"),
        ({}, [], "'nodes' must be a list"),
        (NODES, None, "'links' must be a list"),
        (NODES, [*LINKS, {"source": "roof", "target": "cam"}], "links[5]: target is 'cam'; give the name of one"),
        (NODES, [{"target": "cam-a"}], "links[0]: no source; give the name of one of the 4 nodes"),
        (NODES, [{"source": ["7"], "target": "cam-a"}], "links[0]: source is ['7']; give the name"),
        (NODES, [{"source": "7", "target": "7"}], "links[0]: an edge from '7' to itself; leave it out"),
        (NODES, [*LINKS, {"source": "7", "target": "cam-a"}], "links[5]: a second edge between '7' and 'cam-a' (the"),
        (NODES, [{**LINKS[4], "capacity_bps": -1}], "links[0]: capacity_bps is -1; give a finite number of bit/s"),
        (NODES, [{**LINKS[4], "delay_s": -1}], "links[0]: delay_s is -1; give a finite number of seconds"),
        (NODES, [{**LINKS[0], "delay_s": 1}], "links[0]: delay_s without capacity_bps; a cable has both"),
        (NODES, [{"source": "roof", "target": "tower.1"}], "links[0]: an edge by radio between the base stations"),
    ],
)  # fmt: skip
def test_a_fault_is_one_error_that_says_where(nodes: Any, links: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(write_json(nodes, links))
    assert str(caught.value).startswith(f"topology.file: net.json: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON: expecting value"),
        ('{"nodes": [\n}', "line 2, column 1: not JSON: expecting value"),
        ("[]", 'must be an object {"nodes": […], "links": […]}'),
        ("{}", "no 'nodes'; give a list"),
        ('{"nodes": [{"id": "a", "id": "b"}]}', "can't be read: the key 'id' twice in an object; keep one"),
        ('{"nodes": [NaN]}', "can't be read: numbers must be finite, got NaN"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"nodes": [{"x_m": ' + "1" * 10_000 + "}]}", "can't be read: Exceeds the limit"),
        (b"\xff\xfe\xff", "can't be read: 'utf-16"),
    ],
)
def test_broken_json(text: str | bytes, message: str) -> None:
    Path("net.json").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError) as caught:
        load("net.json")
    assert str(caught.value).startswith(f"topology.file: net.json: {message}")


GRAPHML = """\
<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="k" for="node" attr.name="kind" attr.type="string"><default>device</default></key>
  <key id="x" for="node" attr.name="x_m" attr.type="double"/>
  <key id="y" for="all" attr.name="y_m" attr.type="double"><default> 5 </default></key>
  <key id="c" for="edge" attr.name="capacity_bps" attr.type="double"/>
  <graph edgedefault="undirected">
    <data key="unknown to us">left alone</data>
    <node id="a"><data key="x">0</data></node>
    <node id="b"><desc>a <b>note</b></desc><data key="x">1<!-- a comment -->0</data><data key="y">-2.5</data></node>
    <edge source="a" target="b"><data key="c">1e6</data></edge>
  </graph>
</graphml>
"""


def test_graphml_with_defaults() -> None:
    Path("net.graphml").write_text(GRAPHML)
    topology = build("net.graphml")
    assert topology.nodes == (Node("a", "device", 0.0, 5.0), Node("b", "device", 10.0, -2.5))
    assert [link.wired for link in topology.links] == [Wired(1e6, 0.0)] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('<data key="x">0</data>', "", "line 9: no x_m; give a finite number of metres"),
        ('<data key="x">0</data>', '<data key="x">far</data>', "line 9: x_m is 'far'; give a finite number of metres"),
        ('<data key="x">0</data>', '<data key="z">0</data>', "line 9: data of the key 'z', which no <key> declares"),
        ('<data key="y">-2.5</data>', '<data key="x">1</data>', "line 10: x_m twice for one node; keep one"),
        ('target="b"', 'target="c"', "line 11: target is 'c'; give the name of one of the 2 nodes"),
        ('target="b"', "", "line 11: no target; give the name of one of the 2 nodes"),
        ('id="a"', "", "line 9: a node with no name; give a text"),
        ("</graph>", "</graph><graph/>", "line 12: a second or nested <graph>; give one flat graph"),
        ("</graph>", "<hyperedge/></graph>", "line 12: a <hyperedge>; give edges of two nodes"),
        ("<desc>", "<d>" * 200, "line 10: elements nested more than 100 deep"),
        ("</graph>", "", "line 13: not XML: mismatched tag"),
        ("</graphml>", "", "line 14: not XML: no element found"),
        ("graphml", "gexf", "line 2: the first element is <gexf>; GraphML begins with <graphml>"),
        ("1e6", "0", "line 11: capacity_bps is '0'; give a finite number of bit/s"),
        ('encoding="UTF-8"', 'encoding="Klingon"', "line 1: the encoding 'Klingon'; give one of UTF-8, UTF-16"),
        ('encoding="UTF-8"', 'encoding="Shift_JIS"', "line 1: the encoding 'Shift_JIS'; give one of"),
    ],
)
def test_broken_graphml(old: str, new: str, message: str) -> None:
    assert old in GRAPHML
    Path("net.graphml").write_text(GRAPHML.replace(old, new))
    with pytest.raises(InputError) as caught:
        load("net.graphml")
    assert str(caught.value).startswith(f"topology.file: net.graphml: {message}")


BOMB = """<?xml version="1.0"?>
<!DOCTYPE graphml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<graphml><graph><node id="&b;"/></graph></graphml>
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", [BOMB, '<!DOCTYPE g SYSTEM "file:///etc/passwd">\n<graphml/>'])
def test_a_document_type_is_refused_before_anything_is_expanded(text: str, encoding: str) -> None:
    Path("net.graphml").write_bytes(text.encode(encoding))
    with pytest.raises(
        InputError, match=r"net\.graphml: line \d: a document type or entity declaration, which isn't read"
    ):
        load("net.graphml")


def test_other_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^topology\.file: gone\.json: no such file or directory; searched from"):
        load("gone.json")
    Path("net.xml").write_text(GRAPHML)
    with pytest.raises(InputError, match=r"net\.xml: it must be a \.graphml or a \.json file"):
        load("net.xml")
    monkeypatch.setattr(FileTopology, "max_bytes", 10)
    with pytest.raises(InputError, match=r"net\.json: \d+ bytes are more than the 10 that are read"):
        load(write_json())
    monkeypatch.setattr(FileTopology, "max_bytes", 10**6)
    monkeypatch.setattr("nmoe_sim.engine.topologies.graph._MAX_NODES", 3)
    with pytest.raises(InputError, match=r"net\.json: more than 3 nodes or 1,000,000 edges; leave some out"):
        load("net.json")
