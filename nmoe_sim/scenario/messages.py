"""Words for what is wrong with a setting: the rule, the value, the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from nmoe_sim.errors import InputError
from nmoe_sim.scenario.unit_hints import number_hint

_MAX_SHOWN = 60
_MAX_KEY = 160
_MAX_LISTED = 20
_RULES = {
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "none_required": "must be null",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "finite_number": "must be finite",
    "int_parsing_size": "must be a smaller number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
    "literal_error": "must be {expected}",
}


def one_line(text: str) -> str:
    """Return ``text`` with everything that doesn't print, line breaks included, as single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clip(text: str, num_characters: int = _MAX_SHOWN) -> str:
    """Return ``text`` in one line of at most so many characters."""
    line = one_line(text)
    return line if len(line) <= num_characters else f"{line[: num_characters - 4]} ..."


def show(value: Any) -> str:
    """Return a value as its YAML reads, short and in one line."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return clip(repr(value))


def error(message: str, where: str | None, path: str) -> InputError:
    """Return the error about a setting; an option that names the setting itself isn't told it again."""
    if where is not None and path and where.startswith((f"--set {path}=", f"--{path} ")):
        return InputError(message, where=where)
    return InputError(message, where=where, key=clip(path, _MAX_KEY) or None)


def listed(names: Iterable[str]) -> str:
    """Return names joined by commas, the tail of a long list counted."""
    names = list(names)
    rest = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + rest


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return a question about the nearest known word, or None when none is near."""
    near = get_close_matches(word[:_MAX_KEY].lower(), list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else None


def explain(details: ErrorDetails, *, description: str | None) -> str:
    """Return the rule that a value breaks.

    Parameters
    ----------
    details : ErrorDetails
        One error as the validator tells it.
    description : str or None
        The setting's docstring.
    """
    kind, context = details["type"], details.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return one_line(str(context.get("error", details["msg"])))
    rule = _RULES.get(kind, one_line(details["msg"]).lower()).format_map({k: _number(v) for k, v in context.items()})
    if kind == "string_pattern_mismatch" and description:
        rule += f" ({summary(description)})"
    return rule


def remedy(details: ErrorDetails, *, key: str, value: Any) -> str:
    """Return what to write instead, starting with '; ', or nothing when that is plain."""
    kind = details["type"]
    if kind == "string_type" and isinstance(value, int | float):
        return "; put it in quotes"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    if not isinstance(value, str):
        return ""
    if kind == "literal_error":
        question = did_you_mean(value, re.findall(r"'([^']*)'", details["ctx"]["expected"]))
        return f"; {question}" if question else ""
    if kind not in ("float_type", "int_type"):
        return ""
    hint = number_hint(key, value)
    return f"; {hint}" if hint else ""


def summary(description: str) -> str:
    """Return the first sentence-like line of a docstring, to stand inside a message."""
    first = description.strip().splitlines()[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _number(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value
