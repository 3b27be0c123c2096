"""Which code this is: results of changed code don't belong into the tables of the old one."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_ROOTS = (_PACKAGE, _PACKAGE.parent / "channels")
_NO_RESULT = {"sweeps", "cli.py", "display.py", "comparison.py", "costing.py", "shipped.py"}
"""Modules of the package that no table of a run depends on."""


def code_digest() -> str:
    """Return the SHA-256 of all source that a run's tables depend on."""
    sha = hashlib.sha256()
    for root in _ROOTS:
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".csv")):
            name = path.relative_to(root)
            if root is not _PACKAGE or name.parts[0] not in _NO_RESULT:
                sha.update(f"{root.name}/{name.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return sha.hexdigest()
