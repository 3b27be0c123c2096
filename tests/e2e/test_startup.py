"""What needn't wait for torch doesn't, wherever the package is installed."""

from __future__ import annotations

import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY, command

HEAVY = (
    "torch",
    "sklearn",
    "pandas",
    "pyarrow",
    "matplotlib",
    "scipy.optimize",
    "scipy.stats",
    "scipy.special",
    "sionna",
)


def cpu_seconds(*arguments: str) -> float:
    """User and system time of the command: what a person waits for on an idle machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert command(*arguments, cwd=REPOSITORY).status == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("arguments", "limit_s"),
    [
        (["--help"], 0.5),
        (["run", "--help"], 0.5),
        (["check", "scenarios/quickstart.yaml"], 2.5),
        (["check", "scenarios/multi_cell.yaml"], 2.5),
        (["check", "scenarios/handover.yaml"], 2.5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_answers_at_once(arguments, limit_s):
    measured_s = []
    while len(measured_s) < 8 and min(measured_s, default=limit_s + 1) > limit_s:  # others may slow a core down
        measured_s.append(cpu_seconds(*arguments))
    assert min(measured_s) <= limit_s


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "scenarios/quickstart.yaml"],
        ["check", "fashion_mnist"],
        ["check", "multi_cell", "handover", "wifi", "mmwave"],
        ["scenarios"],
        ["schema"],
    ],
    ids=" ".join,
)
def test_imports_nothing_heavy(arguments):
    code = (
        "import sys, contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    from nmoe_sim.cli import main\n"
        f"    main({arguments!r})\n"
        f"print(*(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_schema_is_json():
    import json

    schema = json.loads(command("schema", cwd=REPOSITORY).out)
    assert schema["type"] == "object"
    assert {"name", "seed", "radio", "inference"} <= schema["properties"].keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = folder.glob("nmoe_sim-*.whl")
    return path


def test_wheel_holds_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"nmoe_sim", "channels", "analysis"}
    shipped = {path.name for path in (REPOSITORY / "scenarios").rglob("*.yaml")}
    assert {Path(name).name for name in names if name.startswith("nmoe_sim/_scenarios/")} == shipped
    assert "nmoe_sim/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_wheel_installed_elsewhere_finds_its_scenarios(wheel, tmp_path):
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    installed = {"PYTHONPATH": str(target)}
    where = command("import nmoe_sim; print(nmoe_sim.__file__)", cwd=empty, environment=installed, python="-c")
    assert where.out.startswith(str(target))
    listed = command("scenarios", cwd=empty, environment=installed)
    assert listed.status == 0, listed.err
    lines = listed.out.splitlines()
    assert {line.split()[0] for line in lines} == {path.stem for path in (REPOSITORY / "scenarios").glob("*.yaml")}
    assert all(len(line.split()) > 2 for line in lines), "each with its description"
    checked = command("check", "quickstart", cwd=empty, environment=installed)
    assert checked.status == 0, checked.err
    assert checked.out.startswith("quickstart: ok: ")
    assert list(empty.iterdir()) == []
