"""Scenario files and YAML text to located trees, every fault told in one line."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.messages import clip
from nmoe_sim.scenario.reader import Reader
from nmoe_sim.scenario.tree import Node, Sequence, Table

MAX_BYTES = 2**20
"""Largest file that is read."""

_MAX_REASON = 200
_UNREADABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read(path: str, *, where: str | None = None, key: str | None = None) -> Table:
    """Return the tree of a scenario file.

    Parameters
    ----------
    path : str
        The file; positions name it as it is given here.
    where, key : str, optional
        What asked for the file, told when it can't be opened; by default the file itself.

    Raises
    ------
    InputError
        When the file can't be read, isn't YAML, breaks a bound or holds no mapping.
    """
    shown = path if path.isprintable() else repr(path)
    subject = "" if where is None else f"cannot read {shown!r}: "
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{subject}no such file", where=where or shown, key=key) from None
    except IsADirectoryError:
        raise InputError(f"{subject}a directory; name a YAML file", where=where or shown, key=key) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable file name"
        raise InputError(f"{subject}{reason.lower()}", where=where or shown, key=key) from None
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes; a scenario is a few kilobytes of YAML", where=shown)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8 text; a scenario is a YAML file", where=f"{shown}:{line}") from None
    tree = parse(text, file=shown)
    if tree is None:
        raise InputError("empty; a scenario is a mapping of settings such as 'name: first'", where=shown)
    if not isinstance(tree, Table):
        what = "a list" if isinstance(tree, Sequence) else "a single value"
        raise InputError(f"must be a mapping of settings such as 'name: first', got {what}", where=tree.where)
    return tree


def parse(text: str, *, file: str = "", label: str | None = None) -> Node | None:
    """Return the tree of YAML text, or None when there is nothing but comments.

    Parameters
    ----------
    text : str
        One YAML 1.2 document.
    file : str
        Name that positions start with.
    label : str, optional
        Stands for every position, for text from the command line.
    """
    reader = Reader(file, label)
    if unreadable := _UNREADABLE.search(text):
        before = text[: unreadable.start()]
        where = reader.position(before.count("\n"), len(before) - before.rfind("\n") - 1)
        code = f"U+{ord(unreadable.group()):04X}"
        raise InputError(f"character {code} isn't allowed; a scenario is plain UTF-8 text", where=where)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            reader.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = reader.position(mark.line, mark.column) if mark else label or file or None
        said = ", ".join(part for part in (error.context, error.problem) if part)
        remedy = "; indent with spaces, not tabs" if "'\\t'" in said else ""
        raise InputError(f"not valid YAML: {clip(said, _MAX_REASON)}{remedy}", where=place) from None
    except (YAMLError, ValueError, OverflowError):
        # The parser's own words are about its internals here, as for an escape beyond Unicode.
        raise InputError("not valid YAML: what follows can't be read", where=reader.last or label or file) from None
    return reader.root
