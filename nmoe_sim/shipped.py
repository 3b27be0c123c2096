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


def resolve(scenario: str) -> Path:
    """Return the file a command-line argument means: a path, or the name of a shipped scenario."""
    path = Path(scenario)
    if path.is_file() or path.suffix or path.name != scenario:
        return path
    by_name = {file.stem: file for file in shipped()}
    if scenario not in by_name:
        raise InputError(f"neither a file nor a shipped scenario; shipped are {', '.join(by_name)}", where=scenario)
    return by_name[scenario]
