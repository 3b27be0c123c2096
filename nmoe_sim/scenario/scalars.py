"""Plain scalars of the YAML 1.2 core schema (YAML 1.2.2, section 10.3.2)."""

from __future__ import annotations

import re

MAX_INTEGER_DIGITS = 40
"""More than any setting needs; Python itself refuses to read very long integers."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASES = {"0o": 8, "0x": 16}


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of a plain (unquoted) scalar.

    ``1e6`` is a float; ``yes``, ``1_000`` and ``2024-01-01`` are strings.

    Raises
    ------
    ValueError
        For an integer of more than ``MAX_INTEGER_DIGITS`` digits and for a number that isn't finite.
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        if len(text) > MAX_INTEGER_DIGITS:
            raise ValueError(f"an integer of {len(text)} digits is too long; at most {MAX_INTEGER_DIGITS}")
        base = _BASES.get(text[:2])
        return int(text[2:], base) if base else int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"numbers must be finite, got {text}")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("numbers must be finite, got one beyond 1.8e308")
        return number
    return text
