"""MkDocs hook: reference pages made from the declarations, and the gallery made from a run.

Nothing is written into ``docs/``: the pages exist while the site is built, so they can't be out of date.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from gallery import gallery  # beside this file

from nmoe_sim.cli import _parser
from nmoe_sim.errors import InputError
from nmoe_sim.families import families, load_scenario
from nmoe_sim.results.tables import TABLES, Column
from nmoe_sim.scenario.scenario import Scenario
from nmoe_sim.scenario.slots import slots
from nmoe_sim.scenario.spec import Spec
from nmoe_sim.sweeps.spec import SweepSpec

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

HELP_WIDTH = 100


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decision records, by file name, where the navigation leaves room for them."""
    docs = Path(config.docs_dir)
    records: list[Any] = ["decisions/README.md"]
    for file in sorted((docs / "decisions").glob("[0-9]*.md")):
        records.append({file.read_text().splitlines()[0].removeprefix("# "): f"decisions/{file.name}"})
    for group in config.nav or []:
        for pages in group.values():
            for page in pages if isinstance(pages, list) else []:
                if isinstance(page, dict) and "Decisions" in page:
                    page["Decisions"] = records
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    pages: dict[str, str | bytes] = {
        "reference/tables.md": tables_page(),
        "reference/scenario.md": scenario_page(),
        "reference/command-line.md": command_line_page(),
        "reference/errors.md": errors_page(),
        **gallery(),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def table(header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def tables_page() -> str:
    """Return the page of the result tables."""

    def row(column: Column, key: tuple[str, ...]) -> tuple[str, ...]:
        marks = " **key**" if column.name in key else ""
        null = "yes" if column.nullable else ""
        return f"`{column.name}`{marks}", f"`{column.dtype}`", column.unit, null, column.meaning

    parts = [
        "# Tables\n\nEvery run writes these tables to `tables/NAME.parquet`, and `load_run(path).tables[NAME]` is a "
        "pandas data frame. Times are simulated seconds from the start of the run. A value that doesn't apply is null, "
        "never 0. Columns marked **key** identify a row; a key column may be null. Unit and meaning are also in "
        "the Parquet files, as metadata of each column. This page is made from "
        "the declarations in `nmoe_sim/results/tables.py`.\n\n"
        "A sweep directory holds the same tables with a column `run_id`, and `runs.parquet`: one row a run, with its "
        "varied settings, its summary and the sweep's derived columns."
    ]
    for name, declared in TABLES.items():
        rows = (row(column, declared.key) for column in declared.columns)
        parts.append(f"## {name}\n\nA row is {declared.row}.\n")
        parts.append(table(("column", "type", "unit", "null", "meaning"), rows))
    return "\n\n".join(parts) + "\n"


SECTIONS = ("radio", "model", "training", "inference")


def scenario_page() -> str:
    """Return the page of the scenario's keys."""
    parts = [
        "# Scenario keys\n\nA scenario is a YAML 1.2 mapping. What is left out has the default shown; the run "
        "directory's `scenario.yaml` holds every setting in force. A key of a family holds a mapping whose `kind` "
        "picks one implementation (in `devices` and `base_station` the key is `profile`); the other keys are that "
        "implementation's own. Numbers are plain: the unit is the suffix of the key's name. `nmoe-sim schema` prints "
        "the same as JSON Schema. This page is made from the classes the loader checks with.",
        "## Top level",
        table(
            ("key", "type", "default", "meaning"),
            iter(
                [
                    ("`extends`", "text", "", "File that gives everything this one doesn't say; relative to this one."),
                    *key_rows(Scenario, skip=SECTIONS),
                ]
            ),
        ),
    ]
    held = slots(Scenario)
    for name in SECTIONS:
        section = held[name].section
        assert section is not None
        parts += [f"## {name}", documentation(section), keys_table(section)]
    parts += [f"## Sweep files\n\n{documentation(SweepSpec)}", keys_table(SweepSpec)]
    parts.append("## Families\n\nEvery family is an extension point: see the how-to pages.")
    for family, kinds in families().items():
        parts.append(f"### {family}")
        for kind, cls in kinds.items():
            parts += [f"#### {family}: `{kind}` {{ #{family}-{kind} }}", documentation(cls), keys_table(cls)]
    return "\n\n".join(filter(None, parts)) + "\n"


def documentation(cls: type[Spec]) -> str:
    """Return a class's docstring up to the first section of the NumPy style."""
    lines = inspect.cleandoc(cls.__doc__ or "").splitlines()
    rules = [i for i, line in enumerate(lines) if line and set(line) == {"-"}]
    text = "\n".join(lines[: rules[0] - 1] if rules else lines).strip()
    return text.replace("``", "`").replace("::\n", ":\n")


def keys_table(cls: type[Spec]) -> str:
    """Return the table of a class's keys."""
    rows = list(key_rows(cls))
    return table(("key", "type", "default", "meaning"), iter(rows)) if rows else "No keys."


def key_rows(
    cls: type[Spec], *, prefix: str = "", given: Spec | None = None, skip: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield key, type, default and meaning of every field, those of nested sections by dotted path."""
    schemas = cls.model_json_schema().get("properties", {})
    held = slots(cls)
    for name, info in cls.model_fields.items():
        if name in skip:
            continue
        path, meaning = prefix + name, " ".join((info.description or "").replace("``", "`").split())
        slot = held.get(name)
        if slot is not None and slot.family is not None:
            kind = f"family [{slot.family.name}](#{slot.family.name})"
            default = f"`{slot.family.default}`" if slot.family.default else "none" if slot.many else "must be given"
            yield f"`{path}`", f"list of {kind}" if slot.many else kind, default, meaning
        elif slot is not None and slot.section is not None and not slot.many:
            inner = getattr(given, name) if given is not None else info.default
            inner = inner if isinstance(inner, Spec) else None
            yield from key_rows(slot.section, prefix=f"{path}.", given=inner)
        else:
            value = getattr(given, name) if given is not None else info.get_default(call_default_factory=True)
            required = given is None and info.is_required()
            default = "must be given" if required else f"`{shown(value)}`"
            yield f"`{path}`", type_text(schemas[name]), default, meaning


def shown(value: Any) -> str:
    """Return a default as YAML would show it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, float):
        return f"{value:.6g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return str(value) if value != "" else '""'


def type_text(schema: dict[str, Any]) -> str:
    """Return a JSON Schema type in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_text(branch) for branch in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of {type_text(items)}" if items else "list"
    if kind == "object":
        return "mapping"
    words = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
    bounds = [
        f"{sign} {shown(float(schema[word])) if kind == 'number' else f'{schema[word]:,}'}"
        for word, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if word in schema and abs(schema[word]) < 1e17
    ]
    return " ".join([words.get(str(kind), "any"), ", ".join(bounds)]).strip()


def command_line_page() -> str:
    """Return the page of the commands, as ``--help`` prints them."""
    parser = _parser()
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parts = [
        "# Command line\n\n`nmoe-sim COMMAND --help` prints the same; `python -m nmoe_sim` is the same command.\n\n"
        "Exit status: 0 done; 1 the run failed; 2 the input is wrong, with one message on stderr (see "
        "[errors](errors.md)); 130 interrupted."
    ]
    for name, sub in commands.choices.items():
        sub.formatter_class = _wide
        parts.append(f"## {name}\n\n```text\n{sub.format_help().strip()}\n```")
        for group in (action for action in sub._actions if isinstance(action, argparse._SubParsersAction)):
            for nested in group.choices.values():
                nested.formatter_class = _wide
                parts.append(f"```text\n{nested.format_help().strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, width=HELP_WIDTH)


MISTAKES = {
    "a misspelt key": "name: mine\nradio:\n  bandwith_hz: 5e6\n",
    "a number with its unit": "name: mine\nradio:\n  bandwidth_hz: 5 MHz\n",
    "a value outside its range": "name: mine\nmodel:\n  top_k: 0\n",
    "a kind that doesn't exist": "name: mine\nplacement: {kind: milb}\n",
    "a key of another kind": "name: mine\ndata:\n  partition: {kind: iid, alpha: 0.3}\n",
    "a name left out": "seed: 3\n",
    "a key given twice": "name: mine\nseed: 1\nseed: 2\n",
}


def errors_page() -> str:
    """Return the page of the error format, with messages the loader gave while the site was built."""
    parts = [
        "# Errors\n\nWhat is wrong with an input is said in one line on stderr, before anything runs:\n\n"
        "```text\nerror: FILE:LINE:COLUMN: KEY: RULE, got VALUE; REMEDY\n```\n\n"
        "An error in a setting from the command line names the option, such as `--set radio.bandwidth_hz=-1`, in place "
        "of the file; a file that can't be read is named alone. The exit status is 2, and no output directory is left "
        "behind. In Python the same text is `str(error)` of `nmoe_sim.InputError`, whose `where`, `key` and `message` "
        "are its parts; a run that fails after it has started raises `nmoe_sim.RunError`, exit status 1.\n\n"
        "The messages below were given while this page was made."
    ]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        for what, text in MISTAKES.items():
            file.write_text(text)
            parts.append(f"## {what.capitalize()}\n\n```yaml\n{text.rstrip()}\n```\n\n```text\n{_message(file)}\n```")
    return "\n\n".join(parts) + "\n"


def _message(file: Path) -> str:
    try:
        load_scenario(file)
    except InputError as error:
        return f"error: {error}".replace(f"{file.parent}/", "")
    raise AssertionError(f"no error: {file.read_text()}")
