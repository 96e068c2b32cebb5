# `make demo`: a finished table. `make test`: all checks. `make setup`: only installs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# `make test-long`: the tests that start whole runs.
.PHONY: demo test test-long lint setup clean

demo: setup
	$(BIN)/equigrid run quickstart

# Whole commands, Ray clusters and killed processes: long, and not yet a part of `test`.
LONG := tests/test_cli.py tests/test_extension.py tests/test_wheel.py tests/stages tests/faults \
        tests/orchestration/test_dispatch.py

test: lint
	$(BIN)/python -m pytest $(addprefix --ignore=,$(LONG))

test-long: setup
	$(BIN)/python -m pytest $(LONG)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
