"""``nmoe-sim data``: which data sets there are, where they are, and how to get them."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from nmoe_sim.commands.options import add_command, add_plugin_option, interrupted
from nmoe_sim.errors import InputError

if TYPE_CHECKING:
    from nmoe_sim.commands.options import Commands
    from nmoe_sim.nmoe.datasets import DatasetSpec


def add(commands: Commands) -> None:
    """Add the commands."""
    own = add_command(commands, "data", "list data sets and fetch them").add_subparsers(
        metavar="COMMAND", required=True
    )
    text = "list the data sets: size, source, and where they are on this machine"
    add_plugin_option(add_command(own, "list", text, _list))

    sub = add_command(own, "fetch", "fetch a data set, checksummed; run again to go on after a cut", _fetch)
    sub.add_argument("name", metavar="NAME", help="a data set of 'nmoe-sim data list'")
    sub.add_argument(
        "--to", metavar="DIR", help="folder to fill (default: NMOE_SIM_DATA_DIR, else the user's data folder)"
    )
    sub.add_argument("--url", metavar="BASE", help="a mirror: what comes before the file names")
    sub.add_argument("--quiet", action="store_true", help="show no progress")
    add_plugin_option(sub)


def _list(options: argparse.Namespace) -> int:
    import pandas as pd

    from nmoe_sim.display import print_frame
    from nmoe_sim.families import families

    kinds: dict[str, type[DatasetSpec]] = dict(families(options.plugin)["dataset"])  # type: ignore[arg-type]
    rows = [
        {
            "name": name,
            "images": _images(spec),
            "classes": spec.num_classes,
            "download": _download(spec),
            "source": spec.source,
            "where": _where(spec),
        }
        for name, spec in kinds.items()
    ]
    print_frame("data sets", pd.DataFrame(rows))
    return 0


def _images(spec: type[DatasetSpec]) -> str:
    channels, height, width = spec.input_shape
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
    counts = "" if spec.num_train is None else f"{spec.num_train:,} + {spec.num_test or 0:,}, "
    return f"{counts}{height}×{width} {colour}"


def _download(spec: type[DatasetSpec]) -> str:
    remote = getattr(spec, "remote", None)
    return "" if remote is None else f"{sum(file.num_bytes for file in remote.files) / 1e6:.0f} MB"


def _where(spec: type[DatasetSpec]) -> str:
    from nmoe_sim.nmoe.datasets import FileDatasetSpec

    if not issubclass(spec, FileDatasetSpec):
        return "nothing to fetch"
    if (paths := spec.locate()) is not None:
        return str(paths[0] if len(paths) == 1 else paths[0].parent)
    return f"not here: {spec.remedy}"


def _fetch(options: argparse.Namespace) -> int:
    from nmoe_sim.display import show_progress
    from nmoe_sim.downloads import fetch
    from nmoe_sim.families import families
    from nmoe_sim.nmoe.datasets import FileDatasetSpec

    kinds = families(options.plugin)["dataset"]
    if options.name not in kinds:
        near = difflib.get_close_matches(options.name, kinds, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; one of {', '.join(kinds)}"
        raise InputError(f"no such data set{hint}", where=options.name)
    spec = kinds[options.name]
    if not issubclass(spec, FileDatasetSpec):
        print(f"{options.name}: nothing to fetch")
        return 0
    to = None if options.to is None else Path(options.to)
    try:
        with show_progress(quiet=options.quiet) as progress:
            fetched = fetch(spec, to=to, base_url=options.url, progress=progress)
    except KeyboardInterrupt:
        return interrupted("what came is kept; run the same command again to go on")
    where = fetched.paths[0] if len(fetched.paths) == 1 else fetched.paths[0].parent
    print(f"{options.name}: {where}{'' if fetched.is_new else ', here before; nothing was downloaded'}")
    if to is not None:
        print(f"set data.directory or NMOE_SIM_DATA_DIR to {to} to have it found")
    return 0
