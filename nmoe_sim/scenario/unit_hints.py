"""What to write for a number that came as text, such as ``20 MHz`` under ``bandwidth_hz``."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"\s*([-+]?(?:[0-9]*\.)?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµμ/²]{1,12})\s*")
_NUMBER = re.compile(r"\s*[-+]?(?:[0-9]*\.)?[0-9]+(?:[eE][-+]?[0-9]+)?\s*")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}(?:[_, ][0-9]{3})+")
_SPELLINGS = {
    "hz": ("Hz", "hz", "HZ"),
    "bps": ("bit/s", "bps", "b/s", "bits/s"),
    "bytes": ("B", "byte", "bytes"),
    "bits": ("bit", "bits", "b"),
    "flop": ("FLOP", "flop", "flops", "FLOPs", "FLOPS"),
    "flop_per_s": ("FLOP/s", "FLOPS", "flops", "FLOPs", "flop/s"),
    "s": ("s", "sec", "second", "seconds"),
    "m": ("m", "meter", "meters", "metre", "metres"),
    "w": ("W", "w", "watt", "watts"),
    "j": ("J", "j", "joule", "joules"),
    "dbm": ("dBm", "dbm", "DBM"),
    "db": ("dB", "db", "DB"),
    "mps": ("m/s", "mps"),
}
_EXPONENTS = {"k": 3, "K": 3, "M": 6, "G": 9, "T": 12, "P": 15, "m": -3, "µ": -6, "μ": -6, "u": -6, "n": -9}
_ONLY_LARGE = frozenset({"hz", "bps", "bytes", "bits", "flop", "flop_per_s"})
"""Units of which nobody means a thousandth: ``mhz`` stands for MHz."""
_FACTORS = {("s", "min"): 60.0, ("s", "h"): 3600.0, ("mps", "km/h"): 1 / 3.6, ("j", "Wh"): 3600.0}
_MAX_CHARACTERS = 40
_BINARY = re.compile(r"([KMGT])i(?:B|bytes?)")


def number_hint(key: str, text: str) -> str | None:
    """Return the remedy for text where a number is expected, or None when it looks like no number.

    Parameters
    ----------
    key : str
        Name of the setting; its suffix is its unit.
    text : str
        What was written.
    """
    if len(text) > _MAX_CHARACTERS:
        return None
    if _GROUPED.fullmatch(text):
        return f"write {re.sub('[_, ]', '', text)}"
    if _NUMBER.fullmatch(text):
        return f"write {text.strip()} without quotes"
    if not (match := _QUANTITY.fullmatch(text)):
        return None
    suffix = _suffix(key)
    if suffix is None:
        return "write a plain number"
    number = _convert(suffix, match[1], match[2])
    return f"the unit is in the key's name: write {number or f'a plain number in {_SPELLINGS[suffix][0]}'}"


def _suffix(key: str) -> str | None:
    endings = (s for s in _SPELLINGS if key == s or key.endswith(f"_{s}"))
    return max(endings, key=len, default=None)


def _convert(suffix: str, number: str, unit: str) -> str | None:
    spellings = _SPELLINGS[suffix]
    if unit in spellings:
        return number
    if factor := _FACTORS.get((suffix, unit)):
        return f"{float(number) * factor:.10g}"
    if suffix == "bytes" and (binary := _BINARY.fullmatch(unit)):
        return f"{float(number) * 2 ** (10 * ('KMGT'.index(binary[1]) + 1)):.0f}"
    prefix, rest = unit[0], unit[1:]
    if suffix in _ONLY_LARGE:
        prefix = prefix.upper()
    if prefix not in _EXPONENTS or (rest and rest not in spellings):
        return None
    if "e" in number.lower():
        return f"{float(number) * 10.0 ** _EXPONENTS[prefix]:.10g}"
    return f"{number}e{_EXPONENTS[prefix]}"
