"""The scenario files that come with the package."""

from __future__ import annotations

from pathlib import Path

from nmoe_sim.errors import InputError


def folder() -> Path:
    """Return the folder of shipped scenarios: inside an installed package, or of the checkout."""
    package = Path(__file__).parent
    installed = package / "_scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def shipped() -> list[Path]:
    """Return the shipped scenario files, by name."""
    return sorted(folder().glob("*.yaml"))


def shipped_sweeps() -> list[Path]:
    """Return the shipped sweep files, by name."""
    return sorted((folder() / "sweeps").glob("*.yaml"))


def resolve(scenario: str) -> Path:
    """Return the file a command-line argument means: a path, or the name of a shipped scenario."""
    return _resolve(scenario, shipped(), "scenario")


def resolve_sweep(sweep: str) -> Path:
    """Return the file a command-line argument means: a path, or the name of a shipped sweep."""
    return _resolve(sweep, shipped_sweeps(), "sweep")


def _resolve(name: str, files: list[Path], noun: str) -> Path:
    path = Path(name)
    if path.is_file() or path.suffix or path.name != name:
        return path
    by_name = {file.stem: file for file in files}
    if name not in by_name:
        raise InputError(f"neither a file nor a shipped {noun}; shipped are {', '.join(by_name)}", where=name)
    return by_name[name]
