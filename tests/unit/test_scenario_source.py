from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.source import MAX_BYTES, parse, read
from nmoe_sim.scenario.tree import Scalar, Sequence, Table, to_python, where


def test_positions_are_those_of_values_and_keys():
    tree = parse("a: 1\nb:\n  c: [x,\n      y]\n  d:\ne: ''\n", file="f.yaml")
    assert isinstance(tree, Table)
    assert tree.where == "f.yaml:1:1"
    assert tree.key_where["b"] == "f.yaml:2:1"
    assert where(tree, "a") == "f.yaml:1:4"
    assert where(tree, "b") == "f.yaml:3:3"
    assert where(tree, "b.c") == "f.yaml:3:6"
    assert where(tree, "b.c.1") == "f.yaml:4:7"
    assert where(tree, "b.d") == "f.yaml:5:3"  # an absent value is placed at its key
    assert where(tree, "e") == "f.yaml:6:4"
    assert where(tree, "b.c.9") == "f.yaml:3:6"
    assert where(tree, "nowhere") == "f.yaml:1:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e6", 1e6),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("12", 12),
        ("+012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("! 1", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    tree = parse(f"k: {text}", file="f")
    assert isinstance(tree, Table)
    found = to_python(tree.entries["k"])
    assert found == value
    assert type(found) is type(value)


def test_aliases_are_written_out_at_their_anchors_position():
    tree = parse("a: &x [1, 2]\nb: *x\n", file="f")
    assert to_python(tree) == {"a": (1, 2), "b": (1, 2)}
    assert where(tree, "b") == "f:1:4"


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)

MALFORMED = {
    "flow never closed": ("a: [1,\n", "not valid YAML: while parsing a flow"),
    "tab": ("a:\n\tb: 1\n", "indent with spaces, not tabs"),
    "two colons": ("a: b: c\n", "f.yaml:1:5: not valid YAML: mapping values are not allowed here"),
    "duplicate": ("a: 1\nb:\n  c: 1\n  c: 2\n", "f.yaml:4:3: b.c: duplicate key; it is on line 3 already"),
    "python tag": ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1:4: a: unknown tag '!!python/object"),
    "own tag": ("a:\n  - !mine x\n", "f.yaml:2:5: a.0: unknown tag '!mine'"),
    "wrong tag": ("a: !!int x\n", "f.yaml:1:4: a: the value isn't what its tag says"),
    "number as key": ("1: x\n", "f.yaml:1:1: every key must be a plain word, got 1"),
    "null as key": ("~: x\n", "got null"),
    "mapping as key": ("? {a: b}\n: c\n", "every key must be a plain word"),
    "alias as key": ("a: &x y\n? *x\n: c\n", "got an alias"),
    "merge key": ("<<: {a: 1}\n", "use 'extends'"),
    "not a number": ("a: {b: .nan}\n", "f.yaml:1:8: a.b: numbers must be finite, got .nan"),
    "infinity": ("a: -.inf\n", "numbers must be finite"),
    "overflow": ("a: 1e999\n", "numbers must be finite"),
    "absurd integer": (f"seed: {'1' * 10_000}\n", "f.yaml:1:7: seed: an integer of 10000 digits is too long"),
    "unknown alias": ("a: *b\n", "f.yaml:1:4: a: alias '*b' has no anchor above it"),
    "recursive alias": ("a: &a {b: *a}\n", "f.yaml:1:11: a.b: alias '*a' is inside the value it stands for"),
    "alias bomb": (BOMB, "more than 100000 values, aliases written out"),
    "deep flow": ("a: " + "[" * 5000, "nested deeper than 50 levels"),
    "deep block": ("".join(" " * i + "a:\n" for i in range(60)), "nested deeper than 50 levels"),
    "deep by alias": (f"a: &a {'[' * 40}{']' * 40}\nb: {'[' * 20}*a{']' * 20}\n", "nested deeper than 50"),
    "two documents": ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second YAML document starts here"),
    "yaml 1.1": ("%YAML 1.1\n---\na: yes\n", "scenarios are YAML 1.2"),
    "empty": ("", "f.yaml: empty;"),
    "comment only": ("# nothing\n", "f.yaml: empty;"),
    "list": ("- a\n", "f.yaml:1:1: must be a mapping of settings such as 'name: first', got a list"),
    "scalar": ("hello\n", "f.yaml:1:1: must be a mapping"),
    "control character": ("a: 1\nb: \x07\n", "f.yaml:2:4: character U+0007 isn't allowed"),
    "null byte": ("a: \0\n", "character U+0000"),
    "surrogate": ('a: "\\ud800"\n', "half of a surrogate pair"),
    "escape beyond Unicode": ('a: "\\UFFFFFFFF"\n', "f.yaml:1:1: not valid YAML: what follows can't be read"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_text_is_one_line_saying_where(case, tmp_path, monkeypatch):
    text, said = MALFORMED[case]
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read("f.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("f.yaml:")
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_shifts_nothing(tmp_path):
    (tmp_path / "f").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(str(tmp_path / "f")).entries["a"].where == f"{tmp_path / 'f'}:1:4"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: \xff\xfe\n", ":2: not UTF-8 text"),
        ("a: 1\n".encode("utf-16"), ":1: not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), f"larger than {MAX_BYTES} bytes"),
    ],
)
def test_bytes_that_are_no_scenario(data, said, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        read(str(path))
    assert str(caught.value).startswith(str(path))


def test_files_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(InputError) as caught:
        read("none.yaml")
    assert str(caught.value) == "none.yaml: no such file"
    with pytest.raises(InputError) as caught:
        read("folder")
    assert str(caught.value) == "folder: a directory; name a YAML file"
    with pytest.raises(InputError) as caught:
        read("a\nb")
    assert str(caught.value) == "'a\\nb': no such file"
    with pytest.raises(InputError, match="not a usable file name"):
        read("a\0b")
    with pytest.raises(InputError, match="file name too long"):
        read("a" * 5000)


def test_permission_denied(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError) as caught:
        read("x.yaml")
    assert str(caught.value) == "x.yaml: permission denied"


def test_nodes_of_a_label_all_carry_it():
    tree = parse("[1, {a: b}]", label="--set x=[1, {a: b}]")
    assert isinstance(tree, Sequence)
    assert where(tree, "1.a") == "--set x=[1, {a: b}]"
    assert parse("# nothing", label="--set x=#") is None
    assert isinstance(parse("3", label="--set x=3"), Scalar)
