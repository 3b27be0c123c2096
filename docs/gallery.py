"""Pictures of the site, made while it is built: the gallery's from small runs, the tutorial's by its own code."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]

COMMANDS = (
    "nmoe-sim run examples/small.yaml",
    "nmoe-sim run examples/small.yaml --seed 2 --out runs/seed_2",
    "nmoe-sim run examples/small.yaml --seed 3 --out runs/seed_3",
    "nmoe-sim run examples/small.yaml --set inference.routing.kind=local_only --out runs/alone",
    "nmoe-sim run examples/small.yaml --set inference.routing.kind=all --out runs/all",
    "nmoe-sim run scenarios/handover.yaml --set topology.num_devices=4 --set inference.duration_s=15"
    " --set mobility.record_every_s=0.1 --out runs/moving",
)
"""What makes the runs of the gallery."""

FIGURES = {
    "latency_cdf": (
        "Distribution of latency, one curve a run.",
        """\
runs = {"two experts": load_run("runs/small").tables, "all experts": load_run("runs/all").tables}
figure = figures.latency_cdf(runs, deadline_s=0.02)
figures.save(figure, "latency_cdf.svg")
""",
    ),
    "latency_breakdown": (
        "Where the mean latency goes along the critical paths of the requests.",
        """\
runs = {"two experts": load_run("runs/small").tables, "all experts": load_run("runs/all").tables}
figure = figures.latency_breakdown(runs)
figures.save(figure, "latency_breakdown.svg")
""",
    ),
    "energy": (
        "Energy of each device by component; idle energy, which hides the rest, is left out unless asked for.",
        """\
tables = load_run("runs/small").tables
figure = figures.energy(tables, phase="inference")
figures.save(figure, "energy.svg")
""",
    ),
    "utilisation": (
        "Busy share of each device's compute queue while it serves.",
        """\
tables = load_run("runs/small").tables
figure = figures.utilisation(tables)
figures.save(figure, "utilisation.svg")
""",
    ),
    "expert_heat_map": (
        "Which client asks which expert.",
        """\
tables = load_run("runs/small").tables
figure = figures.expert_heat_map(tables)
figures.save(figure, "expert_heat_map.svg")
""",
    ),
    "partition": (
        "Who holds what: clients, classes, and how each client sees its images.",
        """\
tables = load_run("runs/small").tables
figure = figures.partition(tables)
figures.save(figure, "partition.svg")
""",
    ),
    "accuracy_against": (
        "Accuracy in training against round, time, bytes or joules.",
        """\
tables = load_run("runs/small").tables
figure = figures.accuracy_against({"small": tables}, "bytes")
figures.save(figure, "accuracy_against.svg")
""",
    ),
    "learning_curves": (
        "Accuracy in training, mean over seeds, with the 95 % confidence band of the mean.",
        """\
seeds = [load_run(f"runs/{name}").tables for name in ("small", "seed_2", "seed_3")]
figure = figures.learning_curves({"small": seeds}, "round")
figures.save(figure, "learning_curves.svg")
""",
    ),
    "link_map": (
        "Where the devices are, and the median SINR of their links.",
        """\
tables = load_run("runs/small").tables
figure = figures.link_map(tables, medium="uplink")
figures.save(figure, "link_map.svg")
""",
    ),
    "sinr_map": (
        "SINR at every place, all base stations on air: it needs a scenario and no run. `nmoe-sim coverage SCENARIO "
        "--out FILE` makes the same picture.",
        """\
scenario = load_scenario("scenarios/multi_cell.yaml")
figure = figures.sinr_map(coverage_map(scenario), node_table(scenario))
figures.save(figure, "sinr_map.svg")
""",
    ),
    "sinr_cdf": (
        "SINR that transfers began with, every hop counted once.",
        """\
runs = {"one cell": load_run("runs/small").tables, "three cells": load_run("runs/moving").tables}
figure = figures.sinr_cdf(runs)
figures.save(figure, "sinr_cdf.svg")
""",
    ),
    "rate_cdf": (
        "Mean rate of transfers from first to last bit, what others left them included.",
        """\
runs = {"one cell": load_run("runs/small").tables, "three cells": load_run("runs/moving").tables}
figure = figures.rate_cdf(runs, phase="inference")
figures.save(figure, "rate_cdf.svg")
""",
    ),
    "link_over_time": (
        "SINR and rate of a device's downlink as it drives through three cells, with its handovers.",
        """\
tables = load_run("runs/moving").tables
figure = figures.link_over_time(tables, None, "dev0")
figures.save(figure, "link_over_time.svg")
""",
    ),
    "pareto": (
        "Two columns of a table of runs, and the front that nothing beats. `runs.parquet` of a sweep is such a table.",
        """\
runs = pd.DataFrame([load_run(f"runs/{name}").summary for name in ("small", "seed_2", "seed_3", "alone", "all")])
figure = figures.pareto(runs, "latency_mean_s", "energy_per_request_j", better=("low", "low"))
figures.save(figure, "pareto.svg")
""",
    ),
}
"""Name of the function -> what it shows, and three lines that make it."""

IMPORTS = """\
import pandas as pd

from analysis import figures
from nmoe_sim import load_run, load_scenario
from nmoe_sim.coverage import coverage_map, node_table
"""


def gallery() -> dict[str, str | bytes]:
    """Return the gallery page and all pictures made from runs, by path in the site."""
    import matplotlib

    matplotlib.use("agg")
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("examples", "scenarios"):
            shutil.copytree(ROOT / name, name)
        pictures: dict[str, str | bytes] = {
            f"assets/generated/{path.name}": path.read_bytes() for path in (*_figures(), _tutorial_figure())
        }
    return {"gallery.md": _page(), **pictures}


def _figures() -> list[Path]:
    from nmoe_sim.cli import main

    for command in COMMANDS:
        status = main([*command.split()[1:], "--quiet"])
        assert status == 0, command
    for _, code in FIGURES.values():
        exec(IMPORTS + code, {})
    return [Path(f"{name}.svg") for name in FIGURES]


def _tutorial_figure() -> Path:
    """Run the tutorial's last script on the tutorial's scenario."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    for name in ("my_cell.yaml", "latency.py"):
        [text] = re.findall(rf'^```\w+ title="{name}"\n(.*?)^```$', page, re.DOTALL | re.MULTILINE)
        Path(name).write_text(text)
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path("latency.py", run_name="__main__")
    return Path("latency.svg").rename("tutorial_latency.svg")


def _page() -> str:
    commands = "\n".join(f"$ {command}" for command in COMMANDS)
    parts = [
        "# Gallery\n\nEvery figure of `analysis.figures` with the three lines that make it. They take tables, and give "
        "a matplotlib figure at a paper's column width; `save` writes PDF, SVG or PNG. The pictures were made while "
        "this page was built, from these runs (five devices and a few rounds: they show what a figure looks like, not "
        "a result):\n\n"
        f"```console\n{commands}\n```\n\n```python\n{IMPORTS}```"
    ]
    for name, (meaning, code) in FIGURES.items():
        picture = f"![{meaning}](assets/generated/{name}.svg){{ style='background: white; padding: .4rem' }}"
        parts.append(f"## {name}\n\n{meaning}\n\n{picture}\n\n```python\n{code}```")
    return "\n\n".join(parts) + "\n"
