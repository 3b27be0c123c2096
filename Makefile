# Two commands for users: quickstart and test. Both make .venv with pinned versions if it isn't there.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: quickstart test lint bench docs clean

quickstart: .venv/.runtime
	$(BIN)/nmoe-sim run scenarios/quickstart.yaml --out runs/quickstart --overwrite

test: .venv/.dev
	$(BIN)/python -m pytest -q -n 2

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python benchmarks/offload.py
	$(BIN)/python benchmarks/channels.py
	$(BIN)/python benchmarks/learning.py

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv runs dist build site

.venv/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/.dev: .venv/.runtime
	$(PIP) --editable ".[dev]"
	touch $@
